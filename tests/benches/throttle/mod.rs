//! Makes the kernel throttle perf events for a while. It is a setting of the host, so it goes back whatever happens.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const SETTING: &str = "/proc/sys/kernel/perf_event_max_sample_rate";

/// Holds the setting. The old one is put back by a shell of its own group when its standard input ends: on drop, on panic,
/// and when this process is killed.
pub struct Throttle {
    saved: String,
    restorer: Child,
}

impl Throttle {
    /// `perf_event_max_sample_rate` refuses sampling *frequencies* above it (`perf_event_open`), but a sampling *period*,
    /// as ours, is accepted and held to `rate / CONFIG_HZ` ticks per timer interrupt (`__perf_event_account_interrupt`,
    /// `kernel/events/core.c`). `perf_cpu_time_max_percent` only acts on events of the PMU's own interrupt.
    pub fn to(rate_hz: u32) -> Throttle {
        let saved = std::fs::read_to_string(SETTING).expect("perf_event_max_sample_rate");
        let restorer = Command::new("sh")
            .args(["-c", "cat >/dev/null; echo \"$1\" >\"$2\"", "sh", saved.trim(), SETTING])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let throttle = Throttle { saved, restorer };
        std::fs::write(SETTING, rate_hz.to_string()).expect("perf_event_max_sample_rate can be set");
        throttle
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        drop(self.restorer.stdin.take());
        let restored = self.restorer.wait().is_ok_and(|status| status.success());
        let now = std::fs::read_to_string(SETTING).unwrap_or_default();
        if !restored || now != self.saved {
            eprintln!("{SETTING} is {} instead of {}", now.trim(), self.saved.trim());
        }
    }
}
