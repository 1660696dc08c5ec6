//! The CPU clock: `pyprof_tick` counts every tick, and nothing else; `pyprof_sample` makes a sample of it.
//!
//! Two programs, so that the count of ticks does not depend on the code that must account for them.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use aya_ebpf::macros::{perf_event, raw_tracepoint};
use aya_ebpf::programs::{PerfEventContext, RawTracePointContext};
use aya_log_ebpf::info;
use profiler_common::Stat;
use profiler_common::event::SOURCE_CPU;

use crate::arch;
use crate::collect::{Event, collect};
use crate::drive::{Bounded, Drive, Looped, ON_CPU};
use crate::maps::{CHAIN, TICKS, add, count};

/// Counts, weighs the tick, and calls `pyprof_sample`. Without functions of its own, as a message would bring them: before
/// 6.0 the kernel's compiler for arm64 has no tail calls out of programs that have some (`arch/arm64/net/bpf_jit_comp.c`).
#[perf_event]
pub fn pyprof_tick(ctx: PerfEventContext) -> u32 {
    count(Stat::Delivered);
    if let Some(tick) = TICKS.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot. `pyprof_idle` writes it too, but with interrupts off, and so in between ticks.
        let tick = unsafe { &mut *tick };
        // SAFETY: reads a clock.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        // SAFETY: the context of a perf event program.
        let period_ns = unsafe { (*ctx.ctx).sample_period };
        // Each CPU's idle task has the id 0.
        let excess_ns = tick.fire(now_ns, period_ns, ctx.pid() == 0);
        if excess_ns != 0 {
            add(Stat::UnsampledNs, excess_ns);
        }
    }
    // SAFETY: both programs are perf event programs; on failure control comes back here.
    unsafe { CHAIN.tail_call(&ctx, 0) };
    count(Stat::NotChained);
    0
}

/// `cpu_idle(unsigned int state, unsigned int cpu_id)` (`include/trace/events/power.h`): this CPU becomes idle, or ceases
/// to be. Called with interrupts off (`drivers/cpuidle/cpuidle.c`, `kernel/sched/idle.c`).
#[raw_tracepoint(tracepoint = "cpu_idle")]
pub fn pyprof_idle(ctx: RawTracePointContext) -> i32 {
    /// `state` at the end of idleness.
    const PWR_EVENT_EXIT: u32 = u32::MAX;

    let Some(tick) = TICKS.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own slot; see `pyprof_tick`.
    let tick = unsafe { &mut *tick };
    // SAFETY: reads a clock.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if ctx.arg::<u64>(0) as u32 == PWR_EVENT_EXIT {
        tick.idle_ends(now_ns);
    } else {
        tick.idle_begins(now_ns);
    }
    0
}

#[perf_event]
pub fn pyprof_sample(ctx: PerfEventContext) -> u32 {
    sample::<Looped<ON_CPU>>(&ctx)
}

/// In its place on kernels without `bpf_loop`.
#[perf_event]
pub fn pyprof_bounded(ctx: PerfEventContext) -> u32 {
    sample::<Bounded<ON_CPU>>(&ctx)
}

#[inline(always)]
fn sample<D: Drive>(ctx: &PerfEventContext) -> u32 {
    let Some(tick) = TICKS.get_ptr_mut(0) else {
        count(Stat::NoScratch);
        return 0;
    };
    // SAFETY: this CPU's own slot, written by `pyprof_tick` just before.
    let tick = unsafe { &mut *tick };
    let (now_ns, weight_ns) = (tick.now_ns, tick.weight_ns);
    if tick.told_ns != tick.period_ns {
        tick.told_ns = tick.period_ns;
        // SAFETY: no arguments.
        info!(ctx, "CPU {} ticks every {} us", unsafe { bpf_get_smp_processor_id() }, tick.period_ns / 1000);
    }
    // SAFETY: the context of a perf event program.
    let regs = unsafe { &(*ctx.ctx).regs };
    let user = arch::is_user(regs);
    let ip = if user { arch::instruction_pointer(regs) } else { 0 };
    let short_lived = if user { arch::short_lived(regs) } else { [0; 3] };
    let long_lived = if user { arch::long_lived(regs) } else { [0; 2] };
    collect::<D>(&Event {
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
