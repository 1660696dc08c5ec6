//! Threads off their CPUs: what the kernel tells of their blocks, in the profile image's other measure.
//!
//! A stack comes once, with nothing to count, and samples name it by its hash from then on.

mod boundary;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use profiler_common::event::{
    IN_KERNEL, NO_COLLECTOR, NO_SYSCALL, NOT_WALKED, SINCE_BEFORE, STACK_SENT, WAITS_FOR_GIL,
};
use profiler_common::off_cpu::Account;
use profiler_common::{Frame, SampleEvent, ThreadEvent};
use pyunwind::Outcome;

use boundary::Told;

use super::image::{Image, Kind, State, Sums, Waiting};
use super::ingest::{Ingest, comm, gil, native};
use crate::profile::{Context, Counts, Gil, Measure, OffCpuMeta, Profile, StackId, Total, marker};
use crate::reader::{Parked, Place};

/// Stands for the stack of a block that began before anybody looked.
const SINCE_BEFORE_CAPTURE: &str = "<blocked since before the capture>";
/// Of a block that was long, of a thread that blocks too often for every time, and never was walked where it did.
const WITHOUT_WALK: &str = "<not walked>";
/// The ring had no room for it.
const STACK_LOST: &str = "<stack lost>";

/// Of a thread that waits, without the frames, which are let go.
const PARKED_BYTES: usize = 128;

/// A moment by the clocks of those who speak of it.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    monotonic_ns: u64,
    boot_ns: u64,
    at: Instant,
    /// Whose waiting threads are asked about next, and from which number on.
    next: Option<(usize, u32)>,
}

impl Since {
    /// For how long a thread of this process was away that was so from before the beginning until then.
    fn away_ns(&self, image: &Image, until_ns: u64) -> u64 {
        let late_ns = image.since.saturating_duration_since(self.at).as_nanos() as u64;
        until_ns.saturating_sub(self.monotonic_ns.saturating_add(late_ns))
    }
}

/// Of one process image.
pub struct OffCpu {
    counts: Counts,
    account: Account,
    /// Threads that waited from before the beginning on, and have not been told of since.
    parked: HashMap<u32, Waits>,
    /// What was counted of threads, by id, before it was told.
    told: HashMap<u32, Told>,
    /// What of the sums its owner has taken over.
    handed_over: Sums,
}

/// Where a thread waits.
struct Waits {
    thread: Parked,
    /// Under which its stack is known; it is the thread's own, and no hash of anything.
    stack_hash: u64,
    /// What of it was counted at a boundary.
    counted_ns: u64,
}

/// How long per turn threads are looked for that wait when a capture begins: 0.1 ms each where nobody dawdles.
const LOOK_FOR: Duration = Duration::from_millis(20);

impl OffCpu {
    fn new() -> OffCpu {
        OffCpu {
            counts: Counts::of(Measure::OFF_CPU),
            account: Account::default(),
            parked: HashMap::new(),
            told: HashMap::new(),
            handed_over: Sums::default(),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.counts.memory_bytes()
            + self.parked.capacity() * PARKED_BYTES
            + self.told.capacity() * size_of::<(u32, Told)>()
    }
}

/// Figure by figure.
fn each(one: &Account, other: &Account, with: impl Fn(u64, u64) -> u64) -> Account {
    Account {
        blocked_ns: with(one.blocked_ns, other.blocked_ns),
        runnable_ns: with(one.runnable_ns, other.runnable_ns),
        blocked: with(one.blocked, other.blocked),
        preempted: with(one.preempted, other.preempted),
        not_walked: with(one.not_walked, other.not_walked),
    }
}

fn add(sum: &mut Account, more: &Account) {
    *sum = each(sum, more, u64::saturating_add);
}

impl Image {
    fn off_cpu_mut(&mut self) -> &mut OffCpu {
        self.off_cpu.get_or_insert_with(|| Box::new(OffCpu::new()))
    }

    /// Whether anything was off its CPU.
    pub fn was_off_cpu(&self) -> bool {
        !is_empty_off_cpu(self)
    }

    /// The account of it, for people.
    pub fn note_off_cpu(&mut self) {
        let Some(off_cpu) = &self.off_cpu else { return };
        let Account { blocked_ns, runnable_ns, blocked, preempted, not_walked } = off_cpu.account;
        self.profile.process_mut().off_cpu = Some(OffCpuMeta {
            file: None,
            blocked_ns,
            blocked,
            runnable_ns,
            preempted,
            not_walked,
            profile_ns: off_cpu.counts.total().weight_ns,
            dropped_ns: off_cpu.counts.dropped().weight_ns,
        });
    }

    /// Turns the profile into that of the time off CPU, or back again; whether there is one.
    pub fn exchange_off_cpu(&mut self) -> bool {
        let Image { profile, off_cpu, handed_over, .. } = self;
        off_cpu.as_mut().is_some_and(|off_cpu| {
            profile.exchange(&mut off_cpu.counts);
            std::mem::swap(handed_over, &mut off_cpu.handed_over);
            true
        })
    }
}

pub(super) fn is_empty_off_cpu(image: &Image) -> bool {
    image.off_cpu.as_ref().is_none_or(|off_cpu| {
        let Account { blocked_ns, runnable_ns, .. } = off_cpu.account;
        off_cpu.counts.total().samples == 0 && blocked_ns == 0 && runnable_ns == 0
    })
}

/// Counts what waited, with the stack that it has got.
pub(super) fn tally(image: &mut Image, waiting: &Waiting, stack: StackId) {
    let Waiting { tid, thread_start_ns, outcome, context, weight_ns, time_ns, events, kind, .. } = *waiting;
    let those = Total { samples: events.into(), weight_ns };
    match kind {
        Kind::Stack => {}
        Kind::Cpu => {
            let thread = image.profile.thread(tid, thread_start_ns);
            image.profile.add_at(thread, stack, context, outcome, weight_ns, time_ns);
        }
        Kind::OffCpu => in_off_cpu(image, |profile| {
            let thread = profile.thread(tid, thread_start_ns);
            profile.add_counted(thread, stack, context, outcome, those, None);
        }),
    }
}

fn in_off_cpu(image: &mut Image, act: impl FnOnce(&mut Profile)) {
    image.off_cpu_mut();
    image.exchange_off_cpu();
    act(&mut image.profile);
    image.exchange_off_cpu();
}

/// Counts what there is no room for.
pub(super) fn drop_one(image: &mut Image, waiting: &Waiting) {
    match waiting.kind {
        Kind::Stack => {}
        Kind::Cpu => image.profile.add_dropped(waiting.weight_ns),
        Kind::OffCpu => in_off_cpu(image, |profile| profile.add_dropped(waiting.weight_ns)),
    }
}

/// Names the stack that will not come any more.
pub(super) fn mark_lost(image: &mut Image, waiting: &mut Waiting) {
    let key = (waiting.stack_hash, waiting.outcome as u8);
    if waiting.kind == Kind::OffCpu && !image.stacks.contains_key(&key) {
        let stack = marked(&mut image.profile, STACK_LOST);
        image.stacks.insert(key, stack);
    }
}

fn marked(profile: &mut Profile, name: &str) -> StackId {
    let function = profile.function(name, "", 0);
    let location = profile.location(function, 0, 0);
    profile.stack(&[location])
}

fn context(sample: &SampleEvent) -> Context {
    let syscall = u16::try_from(sample.syscall).ok();
    let gil = if sample.flags & WAITS_FOR_GIL != 0 { Gil::Awaited } else { gil(sample.flags) };
    Context { gil, interpreter: sample.interpreter, syscall }
}

impl Ingest {
    /// From now on, by CLOCK_MONOTONIC and CLOCK_BOOTTIME, threads are followed off their CPUs.
    pub fn begin_off_cpu(&mut self, monotonic_ns: u64, boot_ns: u64) {
        self.off_cpu_since = Some(Since { monotonic_ns, boot_ns, at: Instant::now(), next: Some((0, 0)) });
    }

    /// Asks where the threads wait that have not run since the beginning, since nobody saw them leave: some of them, until all
    /// were asked about. `has_run`: of a thread.
    pub fn find_parked(&mut self, has_run: impl Fn(u32) -> bool) {
        let Some(Since { next: Some((mut index, mut from)), .. }) = self.off_cpu_since else { return };
        let begin = Instant::now();
        while index < self.images.len() && begin.elapsed() < LOOK_FOR {
            let (image, reader) = self.image_and_reader(index);
            let asked = image.python().map(|python| reader.parked(&image.key, Place::of(python), from));
            let (found, next) = asked.and_then(Result::ok).unwrap_or_default();
            for thread in found.into_iter().filter(|thread| !has_run(thread.tid)) {
                self.park(index, thread);
            }
            // Numbers grow: a reader that is wrong about that must not keep us.
            match next.filter(|next| *next > from) {
                Some(next) => from = next,
                None => (index, from) = (index + 1, 0),
            }
        }
        if let Some(since) = &mut self.off_cpu_since {
            since.next = (index < self.images.len()).then_some((index, from));
        }
    }

    fn park(&mut self, index: usize, mut thread: Parked) {
        let frame = |(code, identity, index)| Frame { code, identity, index };
        let frames: Vec<Frame> = std::mem::take(&mut thread.frames).into_iter().map(frame).collect();
        if !self.takes(self.images[index].stack_growth_bytes(&frames)) {
            return;
        }
        let outcome = Outcome::from_u8(thread.outcome).unwrap_or(Outcome::Unknown);
        // Beyond what addresses are mixed to, as good as ever.
        let stack_hash = u64::MAX - u64::from(thread.tid);
        let has_frames = !frames.is_empty();
        let tid = thread.tid;
        let waits = Waits { thread, stack_hash: if has_frames { stack_hash } else { 0 }, counted_ns: 0 };
        self.images[index].off_cpu_mut().parked.insert(tid, waits);
        if has_frames {
            let sample = SampleEvent { tid, stack_hash, collector: NO_COLLECTOR, ..SampleEvent::default() };
            self.place_or_wait(index, Waiting { frames, ..waiting(&sample, outcome, Kind::Stack, 0) });
        }
    }

    /// A stack that samples will name.
    pub(super) fn stack(&mut self, sample: &SampleEvent, frames: &[Frame]) -> Option<usize> {
        let (index, new) = self.image_of(sample);
        let image = &mut self.images[index];
        let outcome = Outcome::from_u8(sample.outcome).unwrap_or(Outcome::Unknown);
        if matches!(image.state, State::Other)
            || image.stacks.contains_key(&(sample.stack_hash, outcome as u8))
        {
            return new;
        }
        let growth_bytes = image.stack_growth_bytes(frames);
        if self.takes(growth_bytes) {
            let waiting = Waiting { frames: frames.to_vec(), ..waiting(sample, outcome, Kind::Stack, 0) };
            self.place_or_wait(index, waiting);
        }
        new
    }

    fn image_of(&mut self, sample: &SampleEvent) -> (usize, Option<usize>) {
        let key = &sample.header.process;
        match self.find(key) {
            Some(index) => (index, None),
            None => {
                let index = self.add(Image::new(*key));
                (index, Some(index))
            }
        }
    }

    /// A block that has ended, or several for which one stands.
    pub(super) fn off_cpu(&mut self, sample: &SampleEvent) -> Option<usize> {
        self.received.off_cpu += 1;
        let (index, new) = self.image_of(sample);
        let sample = self.images[index].not_counted_of(sample);
        self.count_off_cpu(index, &sample);
        new
    }

    fn count_off_cpu(&mut self, index: usize, sample: &SampleEvent) {
        let image = &mut self.images[index];
        if matches!(image.state, State::Other) {
            return;
        }
        // The last stack at the same place need not be the one of this time: two lines may call from one place in C.
        let not_walked = sample.flags & NOT_WALKED != 0;
        let outcome = Outcome::from_u8(sample.outcome).filter(|_| !not_walked).unwrap_or(Outcome::Unknown);
        let (mut weight_ns, mut events) = (sample.weight_ns, sample.events);
        if sample.flags & SINCE_BEFORE != 0 {
            let Some(since) = self.off_cpu_since else { return };
            if sample.weight_ns <= since.monotonic_ns {
                // It ran when the capture began.
                return;
            }
            if sample.thread_start_ns > since.boot_ns {
                // New, and it has waited for its first turn only.
                let began_ns = since.monotonic_ns.saturating_add(sample.thread_start_ns - since.boot_ns);
                let runnable_ns = sample.weight_ns.saturating_sub(began_ns);
                add(&mut image.off_cpu_mut().account, &Account { runnable_ns, ..Account::default() });
                return;
            }
            let away_ns = since.away_ns(image, sample.weight_ns);
            let off_cpu = image.off_cpu_mut();
            let parked = off_cpu.parked.remove(&sample.tid);
            let parked = parked.filter(|waits| waits.thread.began(sample.thread_start_ns));
            let runnable_ns = match &parked {
                Some(waits) => sample.stack_hash.saturating_sub(waits.thread.run_delay_ns),
                None => sample.user_ip,
            };
            let runnable_ns = runnable_ns.min(away_ns);
            let counted_ns = parked.as_ref().map_or(0, |waits| waits.counted_ns);
            weight_ns = (away_ns - runnable_ns).saturating_sub(counted_ns);
            events = u32::from(counted_ns == 0);
            let blocked = events.into();
            let more = Account { blocked_ns: weight_ns, runnable_ns, blocked, ..Account::default() };
            add(&mut off_cpu.account, &more);
            if let Some(waits) = parked {
                let mut sample = SampleEvent { weight_ns, flags: 0, ..*sample };
                sample.thread_pointer = waits.thread.thread_pointer;
                sample.syscall = waits.thread.syscall.map_or(NO_SYSCALL, i32::from);
                sample.outcome = waits.thread.outcome;
                sample.stack_hash = waits.stack_hash;
                sample.flags = if waits.stack_hash == 0 { IN_KERNEL } else { STACK_SENT };
                sample.events = events;
                self.count_off_cpu(index, &sample);
                return;
            }
        }
        let waiting = Waiting { weight_ns, ..waiting(sample, outcome, Kind::OffCpu, events) };
        let known = image.stacks.contains_key(&(sample.stack_hash, outcome as u8))
            && image.profile.knows_thread(sample.tid, sample.thread_start_ns);
        if !known {
            let growth_bytes = image.growth_bytes(1);
            if !self.takes(growth_bytes) {
                drop_one(&mut self.images[index], &waiting);
                return;
            }
        }
        let image = &mut self.images[index];
        let threads = image.profile.threads().len();
        let thread = image.profile.thread(sample.tid, sample.thread_start_ns);
        if image.profile.threads().len() > threads || image.names.is_early(thread) {
            image.names.saw(sample.thread_pointer, thread, sample.tid);
        }
        image.profile.name_thread(thread, comm(&sample.comm));
        if sample.flags & STACK_SENT != 0 && !not_walked {
            self.place_or_wait(index, waiting);
            return;
        }
        let profile = &mut image.profile;
        let stack = if sample.flags & SINCE_BEFORE != 0 {
            marked(profile, SINCE_BEFORE_CAPTURE)
        } else if not_walked {
            marked(profile, WITHOUT_WALK)
        } else if outcome == Outcome::Native {
            native(profile, sample.user_ip, true)
        } else {
            marked(profile, marker(outcome).unwrap_or(STACK_LOST))
        };
        tally(image, &waiting, stack);
    }

    /// The account of a thread that has ended.
    pub(super) fn ended(&mut self, event: &ThreadEvent) {
        if let Some(index) = self.find(&event.header.process) {
            let off_cpu = self.images[index].off_cpu_mut();
            let told = off_cpu.told.remove(&event.tid).filter(|told| told.is_of(event.thread_start_ns));
            add(&mut off_cpu.account, &told.unwrap_or_default().more(&event.account));
        }
    }
}

fn waiting(sample: &SampleEvent, outcome: Outcome, kind: Kind, events: u32) -> Waiting {
    Waiting {
        tid: sample.tid,
        thread_start_ns: sample.thread_start_ns,
        frames: Vec::new(),
        outcome,
        context: context(sample),
        collector: sample.collector,
        weight_ns: sample.weight_ns,
        time_ns: None,
        taken_ns: sample.header.time_ns,
        stack_hash: sample.stack_hash,
        events,
        kind,
    }
}
