//! What becomes of images, and of the samples that they have.

use pyunwind::host::code_object::MAX_LINE_TABLE_BYTES;
use pyunwind::host::versions;
use pyunwind::{Addr, code};

use super::super::codes::tests::{ASCII, at, object, this_process};
use super::*;
use crate::process::ProcessMemory;
use crate::profile::Total;

#[test]
fn an_image_that_is_dismissed_leaves_all_its_samples_behind() {
    let mut ingest = Ingest::new(1 << 20);
    let mut image = Image::new(ProcessKey::default());
    let thread = image.profile.thread(1, 1);
    let stack = native(&mut image.profile, 0, false);
    image.profile.add(thread, stack, Outcome::Native, 100);
    image.profile.add_dropped(20);
    image.waiting.push(Waiting {
        tid: 1,
        thread_start_ns: 1,
        frames: Vec::new(),
        outcome: Outcome::Complete,
        context: Context::default(),
        collector: NO_COLLECTOR,
        weight_ns: 3,
        stack_hash: 1,
    });
    let index = ingest.add(image);
    ingest.vanish(index);
    let Received { other, other_weight_ns, vanished, .. } = ingest.received;
    assert_eq!((other, other_weight_ns, vanished), (3, 123, 3));
    assert_eq!(ingest.image(index).all_samples(), Total::default());
}

#[test]
fn what_is_kept_is_found_again_when_the_rest_is_forgotten() {
    let mut ingest = Ingest::new(1 << 20);
    let key = |tgid| ProcessKey { start_ns: 1, tgid, exec_id: 1 };
    let mut waited_for: Vec<usize> = (0..200).map(|tgid| ingest.add(Image::new(key(tgid)))).collect();
    for index in (0..200).filter(|index| index % 3 != 0) {
        ingest.image_mut(index).exited = true;
    }
    ingest.forget_finished(&mut waited_for);
    assert_eq!(ingest.images().len(), 67);
    let pids: Vec<u32> = waited_for.iter().map(|index| ingest.image(*index).key.tgid).collect();
    assert_eq!(pids, (0..200).step_by(3).collect::<Vec<u32>>());
    assert_eq!((ingest.latest(199), ingest.latest(198)), (None, Some(66)));
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

    let mut ingest = Ingest::new(1 << 30);
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
