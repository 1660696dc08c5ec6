//! Periods of one process: what each has, and what is remembered from one to the next.

use super::*;
use crate::bpf::Record;
use crate::reader::Reader;
use bytemuck::Zeroable;
use profiler_common::SampleEvent;
use pyunwind::host::versions;

use super::super::codes::tests::this_process;

fn sample(tid: u32, hash: u64) -> SampleEvent {
    SampleEvent { tid, stack_hash: hash, weight_ns: 10, outcome: 2, ..SampleEvent::zeroed() }
}

#[test]
fn every_sample_is_in_one_period_and_threads_keep_their_names() {
    let mut ingest = Ingest::new(1 << 30, Reader::here());
    let mut image = Image::new(ProcessKey::default());
    image.state = State::Python(Box::new(this_process(versions::layout(10).unwrap())));
    let index = ingest.add(image);
    let native = pyunwind::Outcome::Native as u8;
    let count = |ingest: &mut Ingest, tid, times: u64| {
        for _ in 0..times {
            let sample = SampleEvent { outcome: native, ..sample(tid, 0) };
            ingest.record(Record::Sample(&sample, &[]));
        }
    };
    let total = |images: &[Image]| images.iter().map(|it| it.profile.total().samples).collect::<Vec<_>>();
    count(&mut ingest, 1, 3);
    count(&mut ingest, 2, 2);
    let profile = &mut ingest.image_mut(index).profile;
    let first = profile.thread(1, 0);
    profile.name_python_thread(first, "worker");
    assert_eq!(total(&ingest.cut(|_| ())), [5]);
    // Nothing since.
    assert_eq!(total(&ingest.cut(|_| ())), [0; 0]);
    count(&mut ingest, 1, 4);
    let second = ingest.cut(|_| ());
    assert_eq!(total(&second), [4]);
    let threads: Vec<_> = second[0].profile.threads().iter().map(|it| (it.tid, &*it.python_name)).collect();
    assert_eq!(threads[0], (1, "worker"));
    assert_eq!(second[0].profile.total().weight_ns, 40);
}

#[test]
fn who_has_ended_is_taken_after_a_while_and_once() {
    let mut ingest = Ingest::new(1 << 30, Reader::here());
    let mut image = Image::new(ProcessKey::default());
    image.state = State::Python(Box::new(this_process(versions::layout(10).unwrap())));
    let index = ingest.add(image);
    let native = SampleEvent { outcome: pyunwind::Outcome::Native as u8, ..sample(1, 0) };
    ingest.record(Record::Sample(&native, &[]));
    let (now, settled) = (Instant::now(), Duration::from_millis(200));
    let at = |times: u32| now + settled * times;
    assert!(ingest.take_finished(at(0), settled).is_empty());
    ingest.image_mut(index).exited = true;
    // Seen to have ended; the ticks of its exit may still come.
    assert!(ingest.take_finished(at(1), settled).is_empty());
    ingest.record(Record::Sample(&native, &[]));
    assert!(ingest.take_finished(at(1) + settled / 2, settled).is_empty());
    let taken = ingest.take_finished(at(2), settled);
    assert_eq!(taken.iter().map(|it| it.profile.total().samples).collect::<Vec<_>>(), [2]);
    assert!(ingest.take_finished(at(3), settled).is_empty());
}
