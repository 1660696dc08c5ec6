//! A journal and its settings in a directory of the test's: needs no root.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pyprof-journal-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a fresh directory");
        Place(path)
    }

    fn journal(&self) -> Journal {
        Journal::at(&self.0.join("journal"))
    }

    fn setting(&self, name: &str, value: &str) -> Change {
        let file = self.0.join(name);
        std::fs::write(&file, value).expect("a file");
        Change::Setting { file, was: value.into() }
    }

    fn value(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("a file")
    }

    fn set(&self, name: &str, value: &str) {
        std::fs::write(self.0.join(name), value).expect("a file");
    }

    /// As if its owner had been killed.
    fn kill_owners(&self, boot: Option<&str>) {
        self.journal()
            .edit(|entries| {
                for entry in entries {
                    entry.owner.start += 1;
                    entry.boot = boot.map_or(entry.boot.clone(), str::to_owned);
                }
            })
            .expect("an edit");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// As a process leaves it that is killed.
fn abandon(held: Held) {
    std::mem::forget(held);
}

#[test]
fn a_change_goes_back_with_its_owner() {
    let place = Place::new();
    let held = place.journal().note(place.setting("rate", "5000")).expect("noted");
    place.set("rate", "100");
    assert!(place.journal().left().expect("read").is_empty(), "its owner lives");
    place.journal().restore().expect("nothing to do");
    assert_eq!(place.value("rate"), "100");
    drop(held);
    assert_eq!(place.value("rate"), "5000");
    assert_eq!(place.journal().read().expect("read"), []);
}

#[test]
fn what_the_dead_have_left_goes_back_the_last_first() {
    let place = Place::new();
    let living = place.journal().note(place.setting("cpu", "1")).expect("noted");
    let (number, entry) = (living.number, place.journal().read().expect("read").remove(0));
    abandon(living);
    let change = place.setting("rate", "5000");
    abandon(place.journal().note(change.clone()).expect("noted"));
    place.set("rate", "700");
    // A second change on top of the first, by the same one.
    abandon(place.journal().note(place.setting("rate", "700")).expect("noted"));
    place.set("rate", "100");
    place.set("cpu", "0");
    place.kill_owners(None);
    place.journal().edit(|entries| entries[number as usize] = entry.clone()).expect("one of them lives");
    assert_eq!(place.journal().left().expect("read")[0], change);
    place.journal().restore().expect("both go back");
    assert_eq!((place.value("rate").as_str(), place.value("cpu").as_str()), ("5000", "0"));
    assert_eq!(place.journal().read().expect("read"), [entry]);
}

#[test]
fn what_the_dead_have_set_is_not_taken_for_the_hosts() {
    let place = Place::new();
    abandon(place.journal().note(place.setting("rate", "5000")).expect("noted"));
    place.kill_owners(None);
    drop(place.journal().note(place.setting("rate", "100")).expect("noted"));
    assert_eq!(place.value("rate"), "5000");
}

#[test]
fn what_cannot_go_back_stays_noted() {
    let place = Place::new();
    abandon(place.journal().note(place.setting("gone", "1")).expect("noted"));
    abandon(place.journal().note(place.setting("rate", "5000")).expect("noted"));
    place.set("rate", "100");
    std::fs::remove_file(place.0.join("gone")).expect("a file");
    std::fs::create_dir(place.0.join("gone")).expect("a directory in its place");
    place.kill_owners(None);
    let mended = place.journal().restore().expect("it is read and written");
    let said = mended.iter().map(|(_, result)| result.as_ref().map_err(|error| error.to_string()));
    let [Ok(()), Err(error)] = &said.collect::<Vec<_>>()[..] else { panic!("one cannot") };
    assert!(error.starts_with("failed to write 1 to "), "{error}");
    assert_eq!(place.value("rate"), "5000");
    assert_eq!(place.journal().left().expect("read").len(), 1);
}

#[test]
fn another_boot_has_left_nothing() {
    let place = Place::new();
    abandon(place.journal().note(place.setting("rate", "5000")).expect("noted"));
    place.set("rate", "100");
    place.kill_owners(Some("of-another-boot"));
    place.journal().restore().expect("nothing to do");
    assert_eq!(place.value("rate"), "100");
}

#[test]
fn a_directory_that_others_can_write_is_not_trusted() {
    let place = Place::new();
    drop(place.journal().note(place.setting("rate", "5000")).expect("noted"));
    std::fs::set_permissions(place.0.join("journal"), std::fs::Permissions::from_mode(0o777)).expect("ours");
    let error = place.journal().note(place.setting("rate", "1")).err().expect("it is not ours alone");
    assert!(error.to_string().starts_with("failed to trust "), "{error}");
}

#[test]
fn many_at_once_lose_no_entry() {
    let place = Place::new();
    let change = place.setting("rate", "5000");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    abandon(place.journal().note(change.clone()).expect("noted"));
                }
            });
        }
    });
    let mut numbers: Vec<u64> =
        place.journal().read().expect("read").iter().map(|entry| entry.number).collect();
    numbers.dedup();
    assert_eq!(numbers, (0..80).collect::<Vec<u64>>());
}
