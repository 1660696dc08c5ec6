//! An output directory below one that belongs to somebody else, who moves it away and puts links in its place while root
//! writes: nothing may appear where a link leads, and nobody but root may read what is written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pyprof_tests::limits::Limits;
use pyprof_tests::pythons::python;
use pyprof_tests::target::SPIN;
use pyprof_tests::{Scratch, Target, capture, pythons};

const NOBODY: u32 = 65_534;
const CAPTURES: usize = 15;
/// Until one was written and one refused: what an attempt meets is up to chance, refused is about every third.
const MOST_CAPTURES: usize = 100;
/// Moves `out` away whatever it is, and puts a link, a directory or a file in its place.
const ATTACK: &str = "
import os, sys
place, victim = sys.argv[1:]
out = place + '/out'
print('ready', flush=True)
sys.stdin.readline()
number = 0
while True:
    number += 1
    for action in (
        lambda: os.rename(out, '%s/moved-%d' % (place, number)),
        lambda: os.symlink(victim, out) if number % 3 else os.mkdir(out),
        lambda: os.symlink(victim, '%s/moved-%d/capture.json' % (place, number)),
        lambda: os.unlink(out) if number % 3 else os.rmdir(out),
    ):
        try:
            action()
        except OSError:
            pass
";

fn written(directory: &Path, found: &mut Vec<fs::Metadata>) {
    for entry in fs::read_dir(directory).expect("root reads it").flatten() {
        let metadata = entry.path().symlink_metadata().expect("it is there");
        if metadata.is_dir() {
            written(&entry.path(), found);
        } else if metadata.is_file() {
            found.push(metadata);
        }
    }
}

#[test]
fn who_owns_the_place_cannot_send_files_elsewhere() {
    let (place, victim) = (Scratch::new("place"), Scratch::new("victim"));
    chown(place.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).expect("root may");
    let limits = Limits::new("directory", 20, 512 << 20);
    let spinner = Target::start(&python(12), "spin.py", SPIN, &[]);
    limits.add(spinner.pid());
    // pyenv's interpreters may lie where only root can go.
    let debian = pythons().into_iter().find(|python| python.is_static).expect("Debian's own");
    let mut attacker = Command::new(&debian.path);
    attacker
        .args(["-c", ATTACK])
        .args([place.path(), victim.path()])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/");
    let mut attacker = Target::command(attacker);
    attacker.line();
    // Not by itself: it is nobody by then.
    limits.add(attacker.pid());
    attacker.tell("go");

    let mut codes = BTreeMap::new();
    let has_both = |codes: &BTreeMap<i32, usize>| {
        let count = |code| codes.get(&code).copied().unwrap_or(0);
        count(0) > 0 && count(1) + count(2) > 0
    };
    for number in 0..MOST_CAPTURES {
        if number >= CAPTURES && has_both(&codes) {
            break;
        }
        let output = Command::new(capture::binary())
            .args(["-d", "300ms", "-F", "999", "--max-cpu", "400", "-p", &spinner.pid().to_string(), "-o"])
            .arg(place.path().join("out"))
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().expect("no signal");
        // Written, refused by name (2: what was looked at first was no directory), or (on a busy host) nothing sampled in so
        // short a time.
        assert!(matches!(code, 0 | 1 | 2 | 6), "{code}: {said}");
        assert!(code != 1 || said.contains("pyprof-bpf: failed to "), "{said}");
        assert!(code != 2 || said.contains("/out: not a directory, "), "{said}");
        *codes.entry(code).or_insert(0) += 1;
        let stray = fs::read_dir(victim.path()).expect("ours").count();
        assert_eq!(stray, 0, "a file went where the link leads");
    }
    drop(attacker);
    let mut files = Vec::new();
    written(place.path(), &mut files);
    println!("exit codes {codes:?}, {} files", files.len());
    assert!(has_both(&codes), "exit codes {codes:?}: one that is written and one that is refused are wanted");
    assert!(!files.is_empty(), "no file of what was written");
    assert!(files.iter().all(|file| file.uid() == 0 && file.mode() & 0o077 == 0), "{files:?}");
}
