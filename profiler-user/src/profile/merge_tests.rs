//! Nothing is gained or lost in a merge, and nothing of one process becomes another's.

use super::super::{Context, ExecutableMapping, Gil, Labels, Location, Total};
use super::*;
use pyunwind::Outcome;
use std::collections::BTreeMap;

fn process(pid: u32, name: &str, service: Option<&str>, container: Option<&str>) -> ProcessMeta {
    let labels = Labels {
        service: service.map(str::to_owned),
        container_id: container.map(str::to_owned),
        ..Labels::default()
    };
    ProcessMeta { pid, name: name.into(), labels, ..ProcessMeta::default() }
}

#[test]
fn every_process_is_in_one_group() {
    let processes = [
        process(1, "gunicorn", Some("checkout"), Some("c1")),
        process(2, "gunicorn", Some("checkout"), Some("c2")),
        process(3, "checkout", None, None),
        process(4, "gunicorn", None, Some("host")),
        process(5, "cron", Some("checkout"), None),
        process(6, "gunicorn", None, Some("c1")),
    ];
    let rows = [
        (MergeBy::Name, vec![("gunicorn", vec![0, 1, 3, 5]), ("checkout", vec![2]), ("cron", vec![4])]),
        // A process without a service goes by its name, into the same group if both are the same.
        (MergeBy::Service, vec![("checkout", vec![0, 1, 2, 4]), ("gunicorn", vec![3, 5])]),
        (
            MergeBy::Container,
            vec![("c1", vec![0, 5]), ("c2", vec![1]), ("host", vec![2, 4]), ("host", vec![3])],
        ),
    ];
    for (by, expected) in rows {
        let group = |(name, members): (&str, _)| Group { name: name.into(), members };
        let expected: Vec<Group> = expected.into_iter().map(group).collect();
        assert_eq!(groups(&processes, by), expected, "{by:?}");
    }
    assert_eq!(groups(&[], MergeBy::Name), []);
}

/// A process with two threads, recursion, a native place in its executable and one outside of it.
fn profile(pid: u32, start: u64, executable: &str) -> Profile {
    let meta = ProcessMeta {
        executable: executable.into(),
        mapping: ExecutableMapping { start, limit: start + 0x1000, file_offset: 0, build_id: None },
        ..process(pid, "app", None, None)
    };
    let mut profile = Profile::new(meta);
    // Ids that differ between the profiles.
    for extra in 0..pid {
        let function = profile.function(&format!("only_in_{pid}_{extra}"), "/x.py", 1);
        profile.location(function, 1, 0);
    }
    let main = profile.function("main", "/app.py", 1);
    let main = profile.location(main, 2, 0);
    let work = profile.function("work", "/app.py", 10);
    let work = profile.location(work, 11, 0);
    let native = profile.function("<native>", "", 0);
    let inside = profile.location(native, 0, start + 0x10);
    let outside = profile.location(native, 0, 0x7f00_0000_0000);
    for (tid, start_ns, stack, outcome) in [
        (pid, 1, &[work, work, main][..], Outcome::Complete),
        (pid, 1, &[main], Outcome::Truncated),
        (pid + 1, 1, &[inside], Outcome::Native),
        // Another user of the tid.
        (pid + 1, 2, &[outside], Outcome::Native),
        (pid + 1, 2, &[], Outcome::Starting),
    ] {
        let thread = profile.thread(tid, start_ns);
        profile.name_thread(thread, &format!("t{tid}"));
        profile.name_python_thread(thread, &format!("Thread-{tid}"));
        let stack = profile.stack(stack);
        for number in 0..pid {
            let gil = [Gil::Held, Gil::NotHeld, Gil::Unknown][number as usize % 3];
            profile.add_in(
                thread,
                stack,
                Context { gil, interpreter: pid % 2, syscall: pid.is_multiple_of(3).then_some(7) },
                outcome,
                u64::from(pid) * 1000,
            );
        }
    }
    profile.add_dropped(7);
    profile
}

/// Process, tid, generation, name of the thread, its GIL; function, line and address of each place.
type Key = (u32, u32, u32, String, String, Vec<(String, u32, u64)>);

/// Samples by process, thread and places, with their totals: what a reader sees.
fn seen(profile: &Profile, pids: &[u32]) -> BTreeMap<Key, (u64, u64)> {
    let mut seen = BTreeMap::new();
    for sample in profile.samples() {
        let thread = &profile.threads()[sample.thread.index()];
        let places = profile.stack_locations(sample.stack).map(|id| {
            let Location { function, line, address, .. } = profile.locations()[id.index()];
            (profile.string(profile.functions()[function.index()].name).to_owned(), line, address)
        });
        let pid = pids[thread.process as usize];
        let key = (
            pid,
            thread.tid,
            thread.generation,
            format!("{} {}", thread.name, thread.python_name),
            format!("{:?}", sample.context),
            places.collect(),
        );
        let sum = seen.insert(key, (sample.total.samples, sample.total.weight_ns));
        assert_eq!(sum, None, "no sample is there twice");
    }
    seen
}

#[test]
fn samples_threads_and_sums_of_each_process_survive() {
    // The same program at one address, as forked workers have it; the last is process 3 again, after an exec.
    let profiles = [1, 2, 3, 3].map(|pid| profile(pid, 0x5000, "/usr/bin/python3.11"));
    let merged = merge(&profiles.each_ref()).unwrap();
    let pids: Vec<u32> = merged.processes().map(|process| process.pid).collect();
    assert_eq!(pids, [1, 2, 3, 3]);
    // Told apart by position, so that the two images of process 3 do not hide one another.
    let positions = [1, 2, 3, 4];
    let mut expected = BTreeMap::new();
    for (position, profile) in positions.iter().zip(&profiles) {
        expected.extend(seen(profile, &[*position]));
    }
    assert_eq!(seen(&merged, &positions), expected);
    for (outcome, total) in merged.outcomes() {
        let mut sum = Total::default();
        profiles.iter().for_each(|profile| sum.merge(profile.outcome(outcome)));
        assert_eq!(total, sum, "{outcome:?}");
    }
    assert_eq!(merged.dropped(), Total { samples: 4, weight_ns: 28 });
    assert_eq!(merged.mappings().count(), 1);
    // Shared by all: the two functions, their lines, the native places.
    let own = |profile: &Profile| profile.locations().len();
    assert_eq!(own(&merged), 4 + 1 + 2 + 3);
    assert!(merge(&[]).is_none());
    assert_eq!(seen(&merge(&[&profiles[1]]).unwrap(), &[2]), seen(&profiles[1], &[2]));
}

#[test]
fn executables_stay_apart_and_one_executable_is_one_wherever_it_is_loaded() {
    let rows = [
        (profile(1, 0x5000, "/usr/bin/python3.11"), 0, 0x5010),
        (profile(2, 0x9000, "/usr/bin/python3.12"), 1, 0x9010),
        // The first again, elsewhere: its places are those of the first.
        (profile(3, 0xf000, "/usr/bin/python3.11"), 0, 0x5010),
        (profile(4, u64::MAX - 0x1000, "/usr/bin/python3.12"), 1, 0x9010),
    ];
    let profiles: Vec<&Profile> = rows.iter().map(|row| &row.0).collect();
    let merged = merge(&profiles).unwrap();
    let owners: Vec<u32> = merged.mappings().map(|process| process.pid).collect();
    assert_eq!(owners, [1, 2]);
    for (position, (profile, mapping, inside)) in rows.iter().enumerate() {
        let samples = merged
            .samples()
            .filter(|sample| merged.threads()[sample.thread.index()].process as usize == position);
        let mut addresses = Vec::new();
        for sample in samples {
            for id in merged.stack_locations(sample.stack) {
                let location = merged.locations()[id.index()];
                assert_eq!(location.mapping, *mapping, "process {}", profile.process().pid);
                addresses.push(location.address);
            }
        }
        addresses.retain(|address| *address != 0);
        // Once for each state of the GIL.
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses, [*inside, 0x7f00_0000_0000], "process {}", profile.process().pid);
    }
}
