//! The kernel throttles perf events: weights are the CPU time that was charged, all the same.

use std::path::Path;

use pyprof_host::Held;
use pyprof_tests::charged::{check_loads, loads};

pub const SETTING: &str = "/proc/sys/kernel/perf_event_max_sample_rate";
/// With this, `DIV_ROUND_UP(rate, CONFIG_HZ)` (`kernel/events/core.c`) is one tick per timer interrupt: 250 Hz or less
/// on all usual kernels but those with `CONFIG_HZ=1000`, where nothing of 997 Hz would be throttled.
pub const THROTTLED_HZ: &str = "100";

/// `perf_event_max_sample_rate` refuses sampling *frequencies* above it (`perf_event_open`), but a sampling *period*, as ours,
/// is accepted and held to `rate / CONFIG_HZ` ticks per timer interrupt (`__perf_event_account_interrupt`,
/// `kernel/events/core.c`). `perf_cpu_time_max_percent` only acts on events of the PMU's own interrupt.
fn throttle() -> Held {
    pyprof_host::set(Path::new(SETTING), THROTTLED_HZ).expect("root sets it")
}

#[test]
fn a_throttled_capture_shows_the_same_time() {
    for &percent in loads() {
        check_loads(percent, Some(throttle));
    }
}
