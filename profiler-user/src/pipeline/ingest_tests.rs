//! What becomes of images, and of the samples that they have.

use profiler_common::{CodeEvent, Text};
use pyunwind::host::code_object::MAX_LINE_TABLE_BYTES;
use pyunwind::host::versions;
use pyunwind::{Addr, code};

use super::super::codes::tests::{ASCII, at, object, this_process};
use super::*;
use crate::process::ProcessMemory;
use crate::profile::Total;
use crate::reader::{Reader, Trouble};

#[test]
fn an_image_that_is_dismissed_leaves_all_its_samples_behind() {
    let mut ingest = Ingest::new(1 << 20, Reader::here());
    let mut image = Image::new(ProcessKey::default());
    let thread = image.profile.thread(1, 1);
    let stack = native(&mut image.profile, 0, false);
    image.profile.add(thread, stack, Outcome::Native, 100);
    image.profile.add_dropped(20);
    image.waiting.push(Waiting {
        events: 1,
        kind: Kind::Cpu,
        tid: 1,
        thread_start_ns: 1,
        frames: Vec::new(),
        outcome: Outcome::Complete,
        context: Context::default(),
        collector: NO_COLLECTOR,
        weight_ns: 3,
        time_ns: None,
        taken_ns: 0,
        stack_hash: 1,
    });
    let index = ingest.add(image);
    ingest.vanish(index);
    let Received { other, other_weight_ns, vanished, .. } = ingest.received;
    assert_eq!((other, other_weight_ns, vanished), (3, 123, 3));
    assert_eq!(ingest.image(index).all_samples(), Total::default());
}

#[test]
fn a_process_that_makes_up_code_objects_takes_a_bounded_time_and_memory_per_batch() {
    let layout = versions::layout(10).unwrap();
    let text = object(&[(layout.str_length, 1), (layout.str_state, ASCII)], layout.str_ascii_data, b"f");
    let lines = vec![1; MAX_LINE_TABLE_BYTES as usize];
    let table = object(&[(layout.bytes_size, lines.len() as u64)], layout.bytes_data, &lines);
    let pointers = [
        (layout.code_filename, at(&text)),
        (layout.code_name, at(&text)),
        (layout.code_linetable, at(&table)),
    ];
    // Many small functions with one big line table, all in one stack that the kernel has sent nothing of.
    let codes: Vec<Vec<u64>> =
        (0..512_u32).map(|line| object(&pointers, layout.code_firstlineno, &line.to_ne_bytes())).collect();
    let mut memory = ProcessMemory::new(std::process::id());
    let frame = |code: &Vec<u64>| {
        let identity = code::check(&mut memory, &layout, Addr(at(code)), 0).unwrap().identity;
        Frame { code: at(code), identity, index: 0 }
    };
    let frames: Vec<Frame> = codes.iter().map(frame).collect();

    let mut ingest = Ingest::new(1 << 30, Reader::here());
    let mut image = Image::new(ProcessKey::default());
    image.state = State::Python(Box::new(this_process(layout)));
    let index = ingest.add(image);
    let mut sample = SampleEvent { frames: 512, ..SampleEvent::default() };
    for stack_hash in 1..=8 {
        sample.stack_hash = stack_hash;
        ingest.record(Record::Sample(&sample, &frames));
    }
    let bytes = ingest.image(index).memory_bytes();
    assert!((1 << 20..200 << 20).contains(&bytes), "{bytes} bytes");
    // What was left out comes later.
    ingest.settle(false);
    assert!(ingest.image(index).memory_bytes() > bytes);
}

#[test]
fn tables_that_double_stay_within_the_limit_however_long_code_is_made() {
    const MAX_BYTES: usize = 48 << 20;
    let layout = versions::layout(12).unwrap();
    let mut ingest = Ingest::new(MAX_BYTES, Reader::here());
    let mut image = Image::new(ProcessKey::default());
    image.state = State::Python(Box::new(this_process(layout)));
    let index = ingest.add(image);
    let mut most_bytes = 0;
    for number in 0..300_000u32 {
        let (name, file) = (format!("made_{number}"), format!("/made/{number}.py"));
        let text = |text: &str| Text {
            chars: text.len() as u32,
            state: ASCII as u32,
            bytes: text.len() as u32,
            reserved: 0,
        };
        let event = CodeEvent {
            code: 0x1000 + u64::from(number) * 64,
            identity: number,
            first_line: 1,
            name: text(&name),
            file: text(&file),
            lines_total: 8,
            lines_bytes: 8,
            ..CodeEvent::default()
        };
        ingest.record(Record::Code(&event, &[name.as_bytes(), file.as_bytes(), &[0x80; 8]].concat()));
        let frame = Frame { code: event.code, identity: number, index: 0 };
        let sample = SampleEvent {
            outcome: Outcome::Complete as u8,
            frames: 1,
            stack_hash: u64::from(number) + 1,
            weight_ns: 1,
            ..SampleEvent::default()
        };
        ingest.record(Record::Sample(&sample, &[frame]));
        if number % 64 == 0 {
            ingest.check_memory(0);
            most_bytes = most_bytes.max(ingest.image(index).memory_bytes());
        }
    }
    // A batch more than there was room for.
    assert!(most_bytes <= MAX_BYTES + (64 << 10), "{most_bytes} bytes");
    let image = ingest.image(index);
    assert_eq!(image.all_samples(), Total { samples: 300_000, weight_ns: 300_000 });
    assert!(image.profile.dropped().samples > 0 && image.profile.total().samples > 50_000);
}

#[test]
fn a_python_that_does_not_answer_is_marked_and_not_asked_until_it_runs_another_program() {
    let mut ingest = Ingest::new(1 << 20, Reader::here());
    let pid = std::process::id();
    let key = |exec_id| ProcessKey { start_ns: 1, tgid: pid, exec_id };
    let index = ingest.add(Image::new(key(1)));
    ingest.reader.give_up(key(1));
    ingest.mark_unresponsive();
    assert!(ingest.image(index).profile.process().is_unresponsive);
    assert_eq!(ingest.reader.name(&key(1)), Err(Trouble::Unresponsive));
    // A child has what its parent has; another image has not.
    ingest.reader.fork(&key(1), ProcessKey { tgid: pid + 1, ..key(1) });
    assert!(ingest.reader.is_unresponsive(&ProcessKey { tgid: pid + 1, ..key(1) }));
    assert!(ingest.reader.name(&key(2)).is_ok() && ingest.reader.given_up == 1);
    ingest.reader.forget(pid);
    assert!(ingest.reader.name(&key(1)).is_ok());
}

#[test]
fn times_stay_below_the_memory_limit_and_samples_without_them_still_count() {
    let mut ingest = Ingest::new(200_000, Reader::here());
    ingest.keep_times = true;
    let mut sample = SampleEvent { outcome: Outcome::Native as u8, weight_ns: 10, ..SampleEvent::default() };
    for time_ns in 0..50_000 {
        sample.header.time_ns = time_ns;
        ingest.record(Record::Sample(&sample, &[]));
        if time_ns % 1000 == 0 {
            ingest.check_memory(0);
        }
    }
    let image = ingest.image(0);
    assert_eq!(image.profile.total(), Total { samples: 50_000, weight_ns: 500_000 });
    let moments = image.profile.moments().unwrap();
    assert!((1000..50_000).contains(&moments.len()), "{}", moments.len());
    assert!(moments.iter().zip(0..).all(|(moment, time_ns)| moment.time_ns == time_ns));
    assert_eq!(image.profile.untimed()[0].samples, 50_000 - moments.len() as u64);
    assert!(image.memory_bytes() <= 200_000, "{} bytes", image.memory_bytes());
}

/// Found by fuzzing: the last of all times was never given up.
#[test]
fn nothing_waits_beyond_the_end_whatever_its_time() {
    let mut ingest = Ingest::new(1 << 20, Reader::here());
    let mut image = Image::new(ProcessKey::default());
    image.state = State::Python(Box::new(this_process(versions::layout(10).unwrap())));
    let index = ingest.add(image);
    for (time_ns, stack_hash) in [(0, 1), (u64::MAX, 2)] {
        let mut sample = SampleEvent { frames: 1, stack_hash, weight_ns: 10, ..SampleEvent::default() };
        sample.header.time_ns = time_ns;
        // Of a code object that the kernel has said nothing of.
        ingest.record(Record::Sample(&sample, &[Frame { code: 16, identity: stack_hash as u32, index: 0 }]));
    }
    assert_eq!(ingest.image(index).waiting.len(), 2);
    ingest.settle(true);
    assert!(ingest.image(index).waiting.is_empty());
    assert_eq!(ingest.image(index).profile.total(), Total { samples: 2, weight_ns: 20 });
}

#[test]
fn what_was_handed_over_counts_until_the_allocator_gave_it_back() {
    let mut ingest = Ingest::new(1 << 20, Reader::here());
    for (grown_bytes, expected) in [(0, false), (700_000, false), (900_000, true), (1 << 30, true)] {
        ingest.check_memory(grown_bytes);
        assert_eq!(ingest.wants_freed_memory(grown_bytes), expected, "{grown_bytes}");
    }
}
