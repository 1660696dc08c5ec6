//! Files of ours come back as what they were; no damage to a file makes a reader fail in any other way than by saying so.

use super::*;
use crate::encode;
use crate::profile::{
    CaptureMeta, Context, ExecutableMapping, Gil, Labels, Loss, ProcessMeta, Total, marker, merge,
};
use pyunwind::Outcome;
use std::collections::BTreeMap;

fn process(pid: u32) -> ProcessMeta {
    ProcessMeta {
        pid,
        executable: format!("/usr/bin/python{pid}"),
        python_version: "3.12.1".into(),
        mapping: ExecutableMapping {
            start: 0x1000 * u64::from(pid),
            limit: 0x1000 * u64::from(pid) + 0x800,
            file_offset: 64,
            build_id: Some("beef".into()),
        },
        labels: Labels {
            service: Some("shop".into()),
            unit: Some("shop.service".into()),
            ..Labels::default()
        },
        ..ProcessMeta::default()
    }
}

/// A stack for each outcome, two users of one tid, contexts, a native address.
fn profile(pid: u32) -> Profile {
    let mut profile = Profile::new(process(pid));
    let main = profile.function("<module>", "/a.py", 1);
    let main = profile.location(main, 3, 0);
    let inner = profile.function("f.<locals>.<lambda>", "/a.py", 10);
    let inner = profile.location(inner, 11, 0);
    for (number, &outcome) in (1u64..).zip(Outcome::ALL) {
        let mut stack = vec![inner, inner, main];
        if let Some(name) = marker(outcome) {
            let function = profile.function(name, "", 0);
            stack.push(profile.location(function, 0, 0x1000 * u64::from(pid) + number));
        }
        let stack = profile.stack(&stack);
        let thread = profile.thread(pid + (number % 2) as u32, 1 + number / 3);
        profile.name_thread(thread, "python3");
        profile.name_python_thread(thread, &format!("worker {}", number % 2));
        let context = Context { gil: Gil::Held, interpreter: (number % 3) as u32, ..Context::default() };
        profile.add_in(thread, stack, context, outcome, 1_000_000_007 * number);
    }
    profile
}

/// Everything that samples are, as text.
fn samples(profile: &Profile) -> BTreeMap<String, Total> {
    let mut all = BTreeMap::new();
    let processes: Vec<_> = profile.processes().collect();
    for sample in profile.samples() {
        let thread = &profile.threads()[sample.thread.index()];
        let process = processes[thread.process as usize];
        let frames: Vec<_> = profile
            .stack_locations(sample.stack)
            .map(|at| {
                let at = profile.locations()[at.index()];
                let function = profile.functions()[at.function.index()];
                let (name, file) = (profile.string(function.name), profile.string(function.file));
                (name.to_owned(), file.to_owned(), function.start_line, at.line, at.address)
            })
            .collect();
        let key = format!(
            "{} {:?} {} {:?} {} {:?} {:?} {frames:?}",
            process.pid,
            process.labels,
            thread.tid,
            thread.names(""),
            thread.generation,
            sample.context,
            process.mapping.start,
        );
        all.insert(key, sample.total);
    }
    all
}

fn capture() -> CaptureMeta {
    CaptureMeta {
        tool_version: "0.1.0".into(),
        start_unix_ns: 1_795_216_500_000_000_000,
        duration_ns: 10_250_000_000,
        frequency_hz: 99,
        losses: vec![Loss { name: "sample_ring_full".into(), count: 3 }],
        notes: vec!["a note".into()],
        ..CaptureMeta::default()
    }
}

#[test]
fn what_is_written_is_read_again() {
    let mut one = profile(7);
    one.add_dropped(1);
    let Decoded { profiles, facts } = pprof(&encode::pprof(&one, &capture()), None).unwrap();
    assert_eq!(profiles.len(), 1);
    assert_eq!(samples(&profiles[0]), samples(&one));
    assert_eq!(profiles[0].outcomes().collect::<Vec<_>>(), one.outcomes().collect::<Vec<_>>());
    assert_eq!(profiles[0].dropped().samples, 1);
    assert_eq!(profiles[0].process().python_version, "3.12.1");
    assert_eq!(profiles[0].measure(), one.measure());
    let CaptureMeta { start_unix_ns, duration_ns, frequency_hz, losses, notes, .. } = capture();
    assert_eq!((facts.start_unix_ns, facts.duration_ns), (start_unix_ns, duration_ns));
    assert_eq!((facts.frequency_hz, &facts.losses, &facts.comments), (frequency_hz, &losses, &notes));
    assert_eq!((facts.tool_version.as_deref(), facts.left), (Some("0.1.0"), Left::default()));

    // Several processes of one file are told apart again.
    let other = profile(9);
    let both = merge(&[&one, &other]).unwrap();
    let Decoded { profiles, .. } = pprof(&encode::pprof(&both, &capture()), None).unwrap();
    assert_eq!(profiles.len(), 2);
    let apart: BTreeMap<_, _> = profiles.iter().flat_map(samples).collect();
    assert_eq!(apart, [&one, &other].into_iter().flat_map(samples).collect());
}

#[test]
fn times_are_those_of_the_wall_clock() {
    let mut one = Profile::new(process(7));
    one.keep_times();
    let (thread, stack) = (one.thread(7, 1), one.stack(&[]));
    for time_ns in [5_000, 6_000, 9_000] {
        one.add_at(thread, stack, Context::default(), Outcome::Complete, 10, Some(time_ns));
    }
    let capture = CaptureMeta { start_monotonic_ns: 1_000, ..capture() };
    let choices = encode::Choices { timeline: true, ..encode::Choices::default() };
    let mut bytes = Vec::new();
    encode::encode(encode::Format::Pprof, &[&one], &capture, choices, &mut bytes).unwrap();
    let read = pprof(&bytes, None).unwrap();
    let times: Vec<u64> = read.profiles[0].moments().unwrap().iter().map(|it| it.time_ns).collect();
    assert_eq!(times, [4_000, 5_000, 8_000].map(|ns| capture.start_unix_ns + ns));
    assert_eq!(read.profiles[0].total(), Total { samples: 3, weight_ns: 30 });
}

#[test]
fn the_type_is_the_one_asked_for() {
    let bytes = encode::pprof(&profile(7), &capture());
    let rows = [
        (None, Ok(("samples", "cpu"))),
        (Some("cpu"), Ok(("samples", "cpu"))),
        (Some("cpu/nanoseconds"), Ok(("samples", "cpu"))),
        (Some("samples"), Ok(("samples", "samples"))),
        (Some("wall"), Err("it has no sample type wall; there are samples, cpu")),
    ];
    for (asked, expected) in rows {
        let names = pprof(&bytes, asked).map(|read| {
            let measure = read.profiles[0].measure();
            (measure.count.name.to_string(), measure.weight.name.to_string())
        });
        match (names, expected) {
            (Ok((count, weight)), Ok(expected)) => assert_eq!((count.as_str(), weight.as_str()), expected),
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
            (names, _) => panic!("{asked:?}: {names:?}"),
        }
    }
}

#[test]
fn damage_is_an_error_or_another_profile_and_never_a_panic() {
    let plain = super::super::inflate::inflate(&encode::pprof(&profile(7), &capture())).unwrap().into_owned();
    let (mut read, mut refused) = (0, 0);
    let mut try_it = |bytes: &[u8]| match pprof(bytes, None) {
        Ok(_) => read += 1,
        Err(_) => refused += 1,
    };
    for at in 0..plain.len() {
        try_it(&plain[..at]);
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = plain.clone();
            damaged[at] ^= change;
            try_it(&damaged);
        }
    }
    assert!(read > 100 && refused > 100, "{read} {refused}");
}
