//! Blocks across boundaries: each nanosecond is counted once, in the period that it is in.

use super::super::super::codes::tests::this_process;
use super::*;
use crate::bpf::Record;
use crate::profile::Profile;
use crate::reader::Reader;
use profiler_common::event::{EventHeader, SOURCE_OFF_CPU, STACK_SENT};
use profiler_common::off_cpu::LEFT_BLOCKED;
use profiler_common::{ProcessKey, ThreadEvent};
use pyunwind::host::versions;

const SECOND: u64 = 1_000_000_000;
const HASH: u64 = 77;
const TID: u32 = 5;

fn ingest() -> Ingest {
    let mut ingest = Ingest::new(1 << 30, Reader::here());
    let mut image = Image::new(ProcessKey::default());
    image.state = State::Python(Box::new(this_process(versions::layout(10).unwrap())));
    let key = (HASH, Outcome::Complete as u8);
    let function = image.profile.function("waits", "/a.py", 1);
    let location = image.profile.location(function, 3, 0);
    let stack = image.profile.stack(&[location]);
    image.stacks.insert(key, stack);
    ingest.add(image);
    ingest
}

/// Of a thread that left its CPU at `out_ns`.
fn sample(out_ns: u64, weight_ns: u64) -> SampleEvent {
    SampleEvent {
        header: EventHeader { bytes: 1, time_ns: out_ns, ..EventHeader::default() },
        source: SOURCE_OFF_CPU,
        tid: TID,
        thread_start_ns: 9,
        stack_hash: HASH,
        outcome: Outcome::Complete as u8,
        collector: NO_COLLECTOR,
        flags: STACK_SENT,
        events: 1,
        weight_ns,
        ..SampleEvent::default()
    }
}

fn away(out_ns: u64, account: Account) -> OffCpuThread {
    OffCpuThread {
        sample: sample(out_ns, 0),
        out_ns,
        account,
        left: LEFT_BLOCKED,
        long_ns: SECOND / 4000,
        ..OffCpuThread::default()
    }
}

/// Function, events, seconds.
type Waited = Vec<(String, u64, f64)>;

/// What was counted, and the account, of each image.
fn counted(images: Vec<Image>) -> Vec<(Waited, Account)> {
    let by_function = |profile: &Profile| {
        let of = |sample: crate::profile::Sample| {
            let leaf = profile.stack_locations(sample.stack).next().unwrap();
            let function = profile.functions()[profile.locations()[leaf.index()].function.index()];
            let seconds = sample.total.weight_ns as f64 / SECOND as f64;
            (profile.string(function.name).to_owned(), sample.total.samples, seconds)
        };
        profile.samples().map(of).collect()
    };
    let mut counted = Vec::new();
    for mut image in images {
        let account = image.off_cpu.as_ref().unwrap().account;
        assert!(image.exchange_off_cpu());
        counted.push((by_function(&image.profile), account));
    }
    counted
}

#[test]
fn a_block_across_periods_is_counted_in_each_and_once() {
    let mut ingest = ingest();
    let before = Account { blocked_ns: 5, blocked: 1, ..Account::default() };
    let waits = |events, seconds| vec![("waits".to_owned(), events, seconds)];
    ingest.divide_off_cpu(vec![away(SECOND, before)], 2 * SECOND);
    let account = Account { blocked_ns: SECOND + 5, blocked: 2, ..Account::default() };
    assert_eq!(counted(ingest.cut(|_| ())), [(waits(1, 1.0), account)]);
    // It goes on, and nothing else happens.
    ingest.divide_off_cpu(vec![away(SECOND, before)], 4 * SECOND);
    let account = Account { blocked_ns: 2 * SECOND, ..Account::default() };
    assert_eq!(counted(ingest.cut(|_| ())), [(waits(0, 2.0), account)]);
    // It ends; another begins and ends, and one that is too short for anybody to know about it.
    ingest.record(Record::Sample(&sample(SECOND, 7 * SECOND / 2), &[]));
    ingest.record(Record::Sample(&sample(6 * SECOND, SECOND / 4), &[]));
    let so_far = Account { blocked_ns: 5 + 15 * SECOND / 4, blocked: 3, ..Account::default() };
    let short_ns = 7 * SECOND - SECOND / 8000;
    ingest.divide_off_cpu(vec![away(short_ns, so_far)], 7 * SECOND);
    let account = Account { blocked_ns: 3 * SECOND / 4 + SECOND / 8000, blocked: 2, ..Account::default() };
    assert_eq!(counted(ingest.cut(|_| ())), [(waits(1, 0.75), account)]);
    // The rest of it, and what the thread says at its end.
    ingest.record(Record::Sample(&sample(short_ns, SECOND / 2), &[]));
    let whole = Account { blocked_ns: so_far.blocked_ns + SECOND / 2, blocked: 4, ..Account::default() };
    let header = EventHeader::default();
    let end = ThreadEvent { header, thread_start_ns: 9, account: whole, tid: TID, reserved: 0 };
    ingest.record(Record::Thread(&end));
    let account = Account { blocked_ns: SECOND / 2 - SECOND / 8000, ..Account::default() };
    assert_eq!(counted(ingest.cut(|_| ())), [(waits(1, 0.5), account)]);
}

#[test]
fn the_end_counts_the_rest_and_another_thread_of_the_number_is_another() {
    let mut ingest = ingest();
    ingest.divide_off_cpu(vec![away(SECOND, Account::default())], 2 * SECOND);
    let mut other = away(SECOND, Account::default());
    other.sample.thread_start_ns = 10;
    ingest.divide_off_cpu(vec![other], 2 * SECOND);
    ingest.end_off_cpu(vec![other], 3 * SECOND);
    let images = ingest.take_images();
    let account = Account { blocked_ns: 3 * SECOND, blocked: 2, ..Account::default() };
    // Two threads; of the second one block, told in two parts.
    let expected = vec![("waits".to_owned(), 1, 1.0), ("waits".to_owned(), 1, 2.0)];
    assert_eq!(counted(images), [(expected, account)]);
}

#[test]
fn a_view_takes_over_both_measures_and_may_forget_names() {
    let mut ingest = ingest();
    for (most_bytes, until) in [(usize::MAX, 2), (0, 3), (usize::MAX, 4)] {
        ingest.divide_off_cpu(vec![away(SECOND, Account::default())], until * SECOND);
        let mut seen = Vec::new();
        ingest.harvest(most_bytes, |image| {
            let leaf = image.profile.samples().filter_map(|sample| {
                let leaf = image.profile.stack_locations(sample.stack).next()?;
                let function =
                    image.profile.functions()[image.profile.locations()[leaf.index()].function.index()];
                Some(image.profile.string(function.name).to_owned())
            });
            seen.push((image.fresh().all().weight_ns, leaf.collect::<Vec<String>>()));
        });
        assert_eq!(seen, [(0, vec![]), (SECOND, vec!["waits".to_owned()])], "until {until} s");
    }
}
