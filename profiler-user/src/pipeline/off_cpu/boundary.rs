//! Threads that are away while a period ends, or a view is drawn: what is known of them until then is counted then, and the
//! rest of it when it is over.
//!
//! The kernel tells of a block once, when it has ended, and of a thread's account when the thread has. In between its table of
//! threads says since when each is away. What is counted from there is remembered, and left out of what is told later; so it
//! does no harm if a block is looked at that the kernel is just telling of, as long as the ring is read after the table. Of a
//! block so short that chance decides about it (`LONG_NS`) nothing is counted before it is told: the period that it ends in
//! has all of it.

use std::collections::{HashMap, HashSet};
use std::mem::swap;

use profiler_common::event::{NO_COLLECTOR, NO_SYSCALL, SINCE_BEFORE};
use profiler_common::off_cpu::{Account, LEFT_RUNNABLE};
use profiler_common::{OffCpuThread, SampleEvent};
use pyunwind::Outcome;

use super::{Image, Ingest, OffCpu, State, Waits, add, each};
use crate::profile::{Copier, Profile, StackId};

/// What was counted of a thread so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    thread_start_ns: u64,
    account: Account,
    /// When the block began of which a part was counted, and how long that was; 0 where none was.
    out_ns: u64,
    blocked_ns: u64,
    /// By what the stack is known with which it left: hash and outcome.
    stack: (u64, u8),
}

impl Told {
    pub(super) fn is_of(&self, thread_start_ns: u64) -> bool {
        self.thread_start_ns == thread_start_ns
    }

    /// What came since. A block may turn out shorter than it looked, by the wait for a CPU at its end: no sum goes down.
    pub(super) fn more(&mut self, account: &Account) -> Account {
        let more = each(account, &self.account, u64::saturating_sub);
        self.account = each(account, &self.account, u64::max);
        more
    }

    fn counted_of(&self, out_ns: u64) -> u64 {
        if self.out_ns == out_ns { self.blocked_ns } else { 0 }
    }
}

impl Image {
    /// A block that is over, without what of it was counted before.
    pub(super) fn not_counted_of(&self, sample: &SampleEvent) -> SampleEvent {
        let told = self.off_cpu.as_ref().and_then(|off_cpu| off_cpu.told.get(&sample.tid));
        let told = told.filter(|told| told.is_of(sample.thread_start_ns));
        match told.map_or(0, |told| told.counted_of(sample.header.time_ns)) {
            0 => *sample,
            counted_ns => {
                SampleEvent { weight_ns: sample.weight_ns.saturating_sub(counted_ns), events: 0, ..*sample }
            }
        }
    }

    /// All that was counted of it. What is known of threads that are away stays here.
    pub(in crate::pipeline) fn take_off_cpu(&mut self) -> Option<Box<OffCpu>> {
        let off_cpu = self.off_cpu.as_mut()?;
        let mut taken = OffCpu::new();
        swap(&mut taken.counts, &mut off_cpu.counts);
        swap(&mut taken.account, &mut off_cpu.account);
        Some(Box::new(taken))
    }

    /// The tables are new ones: stacks of threads that are away have to be in them, since a block names its stack by the hash
    /// alone when it is over.
    pub(in crate::pipeline) fn keep_stacks_of_blocked(
        &mut self,
        old: &Profile,
        stacks: &HashMap<(u64, u8), StackId>,
    ) {
        let Some(off_cpu) = &self.off_cpu else { return };
        let mut copy = Copier::new(old);
        let told = off_cpu.told.values().map(|told| told.stack);
        let parked = off_cpu.parked.values().map(|waits| (waits.stack_hash, waits.thread.outcome));
        for key in told.chain(parked) {
            if let Some(stack) = stacks.get(&key) {
                let stack = copy.stack(*stack, &mut self.profile);
                self.stacks.insert(key, stack);
            }
        }
    }
}

impl Ingest {
    /// Counts until `now_ns` what the kernel has of threads that go on.
    pub fn divide_off_cpu(&mut self, threads: Vec<OffCpuThread>, now_ns: u64) {
        let there: HashSet<u32> = threads.iter().map(|thread| thread.sample.tid).collect();
        for thread in threads {
            // One that has come back for the first time, and still runs, tells so itself.
            if thread.sample.header.bytes != 0
                && let Some(index) = self.find(&thread.sample.header.process)
            {
                self.count_thread(index, thread, now_ns, false);
            }
        }
        for image in &mut self.images {
            // Who is not there has ended; that it did so may be lost.
            if let Some(off_cpu) = &mut image.off_cpu {
                off_cpu.told.retain(|tid, _| there.contains(tid));
            }
        }
        self.count_parked(now_ns, |tid| there.contains(&tid));
    }

    /// Takes over what the kernel has of threads that have not ended: they blocked, or ran, when it ended at `end_ns`.
    pub fn end_off_cpu(&mut self, threads: Vec<OffCpuThread>, end_ns: u64) {
        for mut thread in threads {
            if thread.sample.header.bytes != 0 {
                let (index, _) = self.image_of(&thread.sample);
                self.count_thread(index, thread, end_ns, true);
                continue;
            }
            let Some(index) = self.latest(thread.sample.header.process.tgid) else { continue };
            // It came back for the first time, and still runs.
            thread.sample.flags = SINCE_BEFORE;
            thread.sample.weight_ns = thread.in_ns;
            thread.sample.events = 1;
            thread.sample.stack_hash = 0;
            thread.sample.outcome = Outcome::Unknown as u8;
            thread.sample.collector = NO_COLLECTOR;
            thread.sample.syscall = NO_SYSCALL;
            self.count_off_cpu(index, &thread.sample);
        }
        self.count_parked(end_ns, |_| false);
    }

    /// Counts what is new of a thread until then; with `last` also what chance decides about.
    fn count_thread(&mut self, index: usize, mut thread: OffCpuThread, until_ns: u64, last: bool) {
        let image = &mut self.images[index];
        if matches!(image.state, State::Other) {
            return;
        }
        let until_ns = if thread.in_ns == 0 { until_ns } else { thread.in_ns };
        let away_ns = if thread.out_ns == 0 { 0 } else { until_ns.saturating_sub(thread.out_ns) };
        let mut account = thread.account;
        let mut counted = None;
        if thread.left == LEFT_RUNNABLE {
            account.runnable_ns = account.runnable_ns.saturating_add(away_ns);
            account.preempted = account.preempted.saturating_add(1);
        } else {
            account.blocked_ns = account.blocked_ns.saturating_add(away_ns);
            account.blocked = account.blocked.saturating_add(1);
            counted = thread.counts(away_ns).filter(|_| last || away_ns >= thread.long_ns);
        }
        let OffCpu { account: sum, told, .. } = image.off_cpu_mut();
        let told = told.entry(thread.sample.tid).or_default();
        if !told.is_of(thread.sample.thread_start_ns) {
            *told = Told { thread_start_ns: thread.sample.thread_start_ns, ..Told::default() };
        }
        add(sum, &told.more(&account));
        told.stack = (thread.sample.stack_hash, thread.sample.outcome);
        let Some(counted) = counted else { return };
        let before_ns = told.counted_of(thread.out_ns);
        (told.out_ns, told.blocked_ns) = (thread.out_ns, before_ns.max(counted.weight_ns));
        thread.sample.events = if before_ns == 0 { counted.events } else { 0 };
        thread.sample.weight_ns = counted.weight_ns.saturating_sub(before_ns);
        if thread.sample.weight_ns > 0 {
            self.count_off_cpu(index, &thread.sample);
        }
    }

    /// Counts those that have waited all the time, as far as anybody knows, until then.
    fn count_parked(&mut self, until_ns: u64, has_run: impl Fn(u32) -> bool) {
        let Some(since) = self.off_cpu_since else { return };
        for index in 0..self.images.len() {
            let Some(off_cpu) = &self.images[index].off_cpu else { continue };
            // A process that has ended, and nobody saw its threads do so: then they were never followed.
            let tids: Vec<u32> = off_cpu.parked.keys().copied().filter(|tid| !has_run(*tid)).collect();
            let counted_ns = since.away_ns(&self.images[index], until_ns);
            for tid in tids {
                let off_cpu = self.images[index].off_cpu_mut();
                let Some(Waits { thread, stack_hash, .. }) = off_cpu.parked.get(&tid) else { continue };
                let (thread, stack_hash) = (thread.clone(), *stack_hash);
                let mut sample = SampleEvent {
                    tid,
                    thread_start_ns: thread.start_ns,
                    flags: SINCE_BEFORE,
                    weight_ns: until_ns.max(since.monotonic_ns),
                    ..SampleEvent::default()
                };
                let comm = thread.comm.as_bytes();
                let bytes = comm.len().min(sample.comm.len() - 1);
                sample.comm[..bytes].copy_from_slice(&comm[..bytes]);
                self.count_off_cpu(index, &sample);
                let waits = Waits { thread, stack_hash, counted_ns };
                self.images[index].off_cpu_mut().parked.insert(tid, waits);
            }
        }
    }
}

#[cfg(test)]
#[path = "boundary_tests.rs"]
mod tests;
