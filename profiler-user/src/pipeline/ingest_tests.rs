//! What becomes of images, and of the samples that they have.

use super::*;
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
