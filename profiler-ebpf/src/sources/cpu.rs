//! The CPU clock: `pyprof_tick` counts every tick, and nothing else; `pyprof_sample` makes a sample of it.
//!
//! Two programs, so that the count of ticks does not depend on the code that must account for them.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use aya_log_ebpf::info;
use profiler_common::Stat;
use profiler_common::event::SOURCE_CPU;
use profiler_common::limits::MAX_PERIODS_PER_TICK;

use crate::arch;
use crate::collect::{Event, collect};
use crate::maps::{CHAIN, TICKS, add, count};

/// Counts, takes the time since the previous tick on this CPU, and calls `pyprof_sample`.
#[perf_event]
pub fn pyprof_tick(ctx: PerfEventContext) -> u32 {
    count(Stat::Delivered);
    if let Some(tick) = TICKS.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot; no other program writes it.
        let tick = unsafe { &mut *tick };
        // SAFETY: reads a clock.
        let now = unsafe { bpf_ktime_get_ns() };
        // SAFETY: the context of a perf event program.
        let period = unsafe { (*ctx.ctx).sample_period };
        let elapsed = now.wrapping_sub(tick.last_ns);
        // The first tick after attaching stands for one period.
        let (weight, excess) = if tick.last_ns == 0 || tick.period_ns != period {
            // SAFETY: no arguments.
            info!(&ctx, "CPU {} ticks every {} ns", unsafe { bpf_get_smp_processor_id() }, period);
            (period, 0)
        } else {
            let most = period.wrapping_mul(MAX_PERIODS_PER_TICK);
            if elapsed > most { (most, elapsed - most) } else { (elapsed, 0) }
        };
        if excess != 0 {
            add(Stat::UnsampledNs, excess);
        }
        tick.last_ns = now;
        tick.now_ns = now;
        tick.weight_ns = weight;
        tick.period_ns = period;
    }
    // SAFETY: both programs are perf event programs; on failure control comes back here.
    unsafe { CHAIN.tail_call(&ctx, 0) };
    count(Stat::NotChained);
    0
}

#[perf_event]
pub fn pyprof_sample(ctx: PerfEventContext) -> u32 {
    let Some(tick) = TICKS.get_ptr(0) else {
        count(Stat::NoScratch);
        return 0;
    };
    // SAFETY: written by `pyprof_tick` just before, on this CPU.
    let (now_ns, weight_ns) = unsafe { ((*tick).now_ns, (*tick).weight_ns) };
    // SAFETY: the context of a perf event program.
    let regs = unsafe { &(*ctx.ctx).regs };
    let user = arch::is_user(regs);
    let ip = if user { arch::instruction_pointer(regs) } else { 0 };
    let short_lived = if user { arch::short_lived(regs) } else { [0; 3] };
    let long_lived = if user { arch::long_lived(regs) } else { [0; 2] };
    collect(&Event {
        source: SOURCE_CPU,
        now_ns,
        weight_ns,
        user,
        ip,
        short_lived,
        long_lived,
        tgid: ctx.tgid(),
        tid: ctx.pid(),
    });
    0
}
