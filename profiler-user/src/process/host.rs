//! What the host says of itself, as text: its kernel's configuration, its mounts, the settings of this process. Bounded, and
//! not understood here: `doctor` does that, in functions that need no host.

use std::fs::File;
use std::io::{self, Read};

use flate2::read::GzDecoder;

/// A configuration has some 300 kB, a host with thousands of containers some megabytes of mounts.
const MAX_TEXT_BYTES: u64 = 8 << 20;

/// Where everybody looks for processes.
pub const PROC: &str = "/proc";

fn read(path: &str) -> io::Result<String> {
    text(File::open(path)?)
}

fn text(from: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(MAX_TEXT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How the running kernel was configured, and the file that says so. The first one is of this very kernel
/// (`CONFIG_IKCONFIG_PROC`), the others are where distributions put it.
pub fn kernel_config(release: &str) -> io::Result<(String, String)> {
    const OF_THE_KERNEL: &str = "/proc/config.gz";
    if let Ok(file) = File::open(OF_THE_KERNEL)
        && let Ok(text) = text(GzDecoder::new(file))
    {
        return Ok((OF_THE_KERNEL.into(), text));
    }
    let mut first = None;
    for path in [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")] {
        match read(&path) {
            Ok(text) => return Ok((path, text)),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// `/proc/self/status`
pub fn own_status() -> io::Result<String> {
    read("/proc/self/status")
}

/// `/proc/self/uid_map`
pub fn own_users() -> io::Result<String> {
    read("/proc/self/uid_map")
}

/// `/proc/self/mountinfo`
pub fn own_mounts() -> io::Result<String> {
    read("/proc/self/mountinfo")
}

/// A setting below `/proc/sys`, and why it cannot be read.
pub fn sysctl(name: &str) -> io::Result<String> {
    read(&format!("/proc/sys/{name}")).map(|text| text.trim().to_owned())
}

/// `/sys/kernel/security/lockdown`
pub fn lockdown() -> io::Result<String> {
    read("/sys/kernel/security/lockdown")
}

/// The security modules in force, as in `lockdown,capability,yama,apparmor`.
pub fn security_modules() -> io::Result<String> {
    read("/sys/kernel/security/lsm").map(|text| text.trim().to_owned())
}

/// What the kernel reads the time from.
pub fn clock_source() -> io::Result<String> {
    read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .map(|text| text.trim().to_owned())
}

/// The container that this process is in, as far as it can be told from inside: by its control groups, else by the files
/// that runtimes leave at its root.
pub fn own_container() -> Option<String> {
    let id = super::cgroup::cgroup(std::process::id()).ok().and_then(|cgroup| cgroup.container_id);
    let marks = [("/run/.containerenv", "Podman"), ("/.dockerenv", "Docker")];
    let by_mark = || marks.iter().find(|(file, _)| std::fs::exists(file).is_ok_and(|there| there));
    id.or_else(|| by_mark().map(|(_, runtime)| (*runtime).to_owned()))
}
