//! When images end.

use super::*;
use crate::reader::Reader;

fn key(start_ns: u64, exec_id: u32) -> ProcessKey {
    ProcessKey { start_ns, tgid: 7, exec_id }
}

/// Those that have not ended, of one process, in the order in which they became known.
fn left(ingest: &Ingest) -> Vec<(u64, u32)> {
    let images = ingest.images().iter().filter(|image| !image.exited);
    images.map(|image| (image.key.start_ns, image.key.exec_id)).collect()
}

fn with(keys: &[(u64, u32)]) -> Ingest {
    let mut ingest = Ingest::new(1 << 20, Reader::here());
    for (start_ns, exec_id) in keys {
        ingest.add(Image::new(key(*start_ns, *exec_id)));
    }
    ingest
}

#[test]
fn an_exec_ends_what_was_before_it_also_where_a_sample_told_first() {
    // The child of a fork, then what it runs, of which a tick told before the event of the exec did.
    let mut ingest = with(&[(5, 1), (5, 2)]);
    assert!(ingest.end_before(&key(5, 2)));
    assert_eq!(left(&ingest), [(5, 2)]);
    // What the first scan found, and an earlier owner of the pid.
    let mut ingest = with(&[(3, 9), (START_NS_ANY, EXEC_ID_ANY)]);
    assert!(ingest.end_before(&key(5, 2)));
    assert_eq!(left(&ingest), []);
    // Twice in a row: the event of the first comes after a tick of the second.
    let mut ingest = with(&[(5, 1), (5, 3)]);
    assert!(!ingest.end_before(&key(5, 2)));
    assert_eq!(left(&ingest), [(5, 3)]);
    let mut ingest = with(&[(5, u32::MAX - 1), (5, 1)]);
    assert!(ingest.end_before(&key(5, 1)));
    assert_eq!(left(&ingest), [(5, 1)], "the number of execs wraps around");
}

#[test]
fn an_exit_ends_all_that_the_process_was_and_nothing_of_the_next_one() {
    let mut ingest = with(&[(5, 1), (5, 2), (8, 2)]);
    ingest.end_process(&key(5, 2));
    assert_eq!(left(&ingest), [(8, 2)]);
}

#[test]
fn where_events_were_lost_the_list_of_processes_says_who_is_there() {
    let mut ingest = with(&[(5, 1), (5, 2)]);
    ingest.end_missing(&HashSet::from([7]), Instant::now());
    assert_eq!(left(&ingest), [(5, 2)]);
    let before = Instant::now();
    ingest.add(Image::new(key(8, 1)));
    ingest.end_missing(&HashSet::new(), before);
    assert_eq!(left(&ingest), [(8, 1)], "it may have begun after the list was made");
    ingest.end_missing(&HashSet::new(), Instant::now());
    assert_eq!(left(&ingest), []);
}

#[test]
fn what_is_kept_is_found_again_when_the_rest_is_forgotten() {
    let mut ingest = Ingest::new(1 << 20, Reader::here());
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
