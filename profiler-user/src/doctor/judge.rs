//! From facts to findings: what is well, what is not, and the mend in one line. Pure, so that hosts which cannot be had here
//! are rows of a test.

use super::facts::{Facts, Known, Types, version_of};
use super::finding::{About, Finding};
use super::tried;
use crate::bpf::Step;
use crate::capture::CAPABILITIES;

/// What a finding is about.
type Judge = fn(&Facts) -> Finding;

/// In the order in which a person would look.
const JUDGES: &[Judge] = &[
    kernel,
    config,
    types,
    tracefs,
    capabilities,
    user_namespace,
    pid_namespace,
    clocks,
    container,
    paranoid,
    sample_rate,
    cpu_time,
    unprivileged_bpf,
    jit,
    lockdown,
    seccomp,
    memlock,
    ptrace_scope,
    hidden_processes,
    tried::perf_event,
    tried::bpf_call,
    tried::load,
    tried::run,
    tried::detach,
    tried::pythons,
];

pub fn judge(facts: &Facts) -> Vec<Finding> {
    JUDGES.iter().map(|judge| judge(facts)).collect()
}

/// BPF ring buffers (`kernel/bpf/ringbuf.c`).
const NEEDED: (u32, u32) = (5, 8);
/// The oldest of docs/kernels.md.
const TESTED: (u32, u32) = (5, 10);
/// From here on memory of BPF is charged to the control group and no longer locked memory.
const WITHOUT_MEMLOCK: (u32, u32) = (5, 11);
/// What the maps take, with room: the ring has 8 MB at most, and counts twice.
const MEMLOCK_BYTES: u64 = 64 << 20;

pub(super) fn has(facts: &Facts, capability: u32) -> bool {
    facts.status.effective.is_some_and(|effective| effective & (1 << capability) != 0)
}

const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_PERFMON: u32 = 38;

/// What the capabilities that are in force lack.
pub(super) fn missing_capabilities(facts: &Facts) -> Vec<&'static str> {
    facts.status.effective.map(crate::capture::missing_capabilities).unwrap_or_default()
}

fn older(facts: &Facts, than: (u32, u32)) -> bool {
    version_of(&facts.release).is_some_and(|version| version < than)
}

fn kernel(facts: &Facts) -> Finding {
    let Facts { release, machine, .. } = facts;
    let finding = Finding::about("kernel");
    let what = format!("Linux {release}, {machine}");
    if version_of(release).is_none() {
        return finding.unseen(format!("{what}: a version that cannot be told"));
    }
    if older(facts, NEEDED) {
        let what = format!("{what}: older than {}.{}, which first had BPF ring buffers", NEEDED.0, NEEDED.1);
        return finding.problem(what, format!("run a kernel from {}.{} on", TESTED.0, TESTED.1));
    }
    if older(facts, TESTED) {
        let what = format!("{what}: older than {}.{}, the oldest that was tested", TESTED.0, TESTED.1);
        return finding.warning(what, format!("run a kernel from {}.{} on", TESTED.0, TESTED.1));
    }
    if machine != "x86_64" {
        let what = format!("{what}: pyprof-bpf was run on x86_64 only");
        return finding.warning(what, "none is needed if the trial below went well");
    }
    finding.ok(what)
}

/// What the programs need, and what for.
const OPTIONS: [&str; 6] =
    ["BPF", "BPF_SYSCALL", "BPF_EVENTS", "PERF_EVENTS", "TRACEPOINTS", "CROSS_MEMORY_ATTACH"];

fn config(facts: &Facts) -> Finding {
    let finding = Finding::about("kernel config");
    let config = match &facts.config {
        Known::Is(config) => config,
        Known::Missing => {
            return finding
                .unseen("neither /proc/config.gz nor a file in /boot says how it was built".into());
        }
        Known::Hidden(why) => return finding.unseen(format!("cannot be read: {why}")),
    };
    let is_on = |option: &&str| config.options.get(*option).is_some_and(|value| value == "y");
    let off: Vec<String> =
        OPTIONS.iter().filter(|option| !is_on(option)).map(|option| format!("CONFIG_{option}")).collect();
    if !off.is_empty() {
        let off = off.join(", ");
        return finding.problem(
            format!("{} lacks {off}", config.file),
            format!("build the kernel with {off}, or run that of a distribution"),
        );
    }
    let types = if is_on(&"DEBUG_INFO_BTF") { "BTF" } else { "no BTF" };
    finding.ok(format!("{}: BPF, perf events, tracepoints, {types}", config.file))
}

fn types(facts: &Facts) -> Finding {
    let finding = Finding::about("BTF");
    const FIX: &str = "mount /sys; without CONFIG_DEBUG_INFO_BTF give the kernel's types with --btf FILE \
                       (pahole --btf_encode_detached=FILE vmlinux)";
    match &facts.types {
        Types::Usable { file, bytes } => finding.ok(format!("{file}, {:.1} MB", *bytes as f64 / 1e6)),
        Types::Missing { file, why } => finding.problem(format!("{file}: {why}"), FIX),
        Types::Unusable { file, why } => {
            finding.problem(format!("{file}: {why}"), "give the types of the running kernel with --btf FILE")
        }
    }
}

fn tracefs(facts: &Facts) -> Finding {
    let finding = Finding::about("tracefs");
    match &facts.mounts {
        Known::Is(mounts) => finding.ok(match &mounts.tracefs {
            Some(place) => format!("at {place}"),
            None => "not mounted, and not needed: tracepoints are attached by bpf(2)".into(),
        }),
        Known::Missing => finding.unseen("the list of mounts is not there".into()),
        Known::Hidden(why) => finding.unseen(format!("the list of mounts cannot be read: {why}")),
    }
}

fn capabilities(facts: &Facts) -> Finding {
    let finding = Finding::about("capabilities");
    if facts.status.effective.is_none() {
        return finding.unseen("not told by /proc/self/status".into());
    }
    let missing = missing_capabilities(facts);
    if missing.is_empty() {
        let held = CAPABILITIES.iter().filter(|(_, bit)| has(facts, *bit)).map(|(name, _)| *name);
        return finding.ok(held.collect::<Vec<_>>().join(", "));
    }
    let what = format!("missing {}", missing.join(", "));
    // Root without capabilities is in a container, or was started by something else that takes them away.
    if facts.is_root {
        let bare: Vec<&str> = missing.iter().map(|name| name.trim_start_matches("CAP_")).collect();
        let flags: Vec<String> = bare.iter().map(|name| format!("--cap-add {name}")).collect();
        let (flags, listed) = (flags.join(" "), bare.join(", "));
        let fix = format!("docker run {flags}; Kubernetes: securityContext.capabilities.add: [{listed}]");
        return finding.problem(what, fix);
    }
    let all = "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_checkpoint_restore";
    finding.problem(what, format!("run with sudo, or once: setcap {all}=ep pyprof-bpf"))
}

fn user_namespace(facts: &Facts) -> Finding {
    let finding = Finding::about("user namespace");
    match &facts.is_initial_user_namespace {
        Known::Is(true) => finding.ok("that of the host".into()),
        Known::Is(false) => finding.problem(
            "one of its own, in which capabilities count for nothing that pyprof-bpf does".into(),
            "start it in the host's: outside of rootless containers and of unshare -U",
        ),
        Known::Missing => finding.ok("this kernel has none".into()),
        Known::Hidden(why) => finding.unseen(format!("cannot be told: {why}")),
    }
}

fn pid_namespace(facts: &Facts) -> Finding {
    let finding = Finding::about("pid namespace");
    match &facts.is_initial_pid_namespace {
        Known::Is(true) => finding.ok("that of the host".into()),
        Known::Is(false) => finding.problem(
            "one of its own, where processes have other numbers than the kernel's programs see".into(),
            "use the host's: docker run --pid=host; Kubernetes: hostPID: true",
        ),
        Known::Missing => finding.problem(
            "this process is not in /proc".into(),
            "mount the proc of the host's pid namespace at /proc",
        ),
        Known::Hidden(why) => finding.unseen(format!("cannot be told: {why}")),
    }
}

fn clocks(facts: &Facts) -> Finding {
    let finding = Finding::about("clock");
    if !facts.has_clocks_of_the_host {
        return finding.problem(
            "a time namespace with clocks of its own".into(),
            "start it in the host's: nsenter --target 1 --time pyprof-bpf",
        );
    }
    // Reading any of these takes a microsecond or more, several times per tick (arch/x86/kernel/hpet.c).
    const SLOW: [&str; 4] = ["hpet", "acpi_pm", "pit", "jiffies"];
    match &facts.clock_source {
        Known::Is(source) if SLOW.contains(&source.as_str()) => finding.warning(
            format!("{source}, which is slow to read: each tick costs more"),
            "let the kernel use tsc, if its log says why it does not; else lower -F",
        ),
        Known::Is(source) => finding.ok(source.clone()),
        Known::Missing => finding.unseen("its source is not shown here".into()),
        Known::Hidden(why) => finding.unseen(format!("its source cannot be read: {why}")),
    }
}

fn container(facts: &Facts) -> Finding {
    let finding = Finding::about("container");
    match &facts.container {
        None => finding.ok("none".into()),
        Some(name) => finding.ok(format!("this is one, or looks like it: {name}")),
    }
}

/// What is said of a number that cannot be read.
fn unread(finding: About, known: &Known<i64>) -> Finding {
    match known {
        Known::Hidden(why) => finding.unseen(format!("cannot be read: {why}")),
        Known::Is(_) | Known::Missing => finding.ok("this kernel has no such setting".into()),
    }
}

fn paranoid(facts: &Facts) -> Finding {
    let finding = Finding::about("perf_event_paranoid");
    let Known::Is(level) = facts.perf_event_paranoid else {
        return unread(finding, &facts.perf_event_paranoid);
    };
    if has(facts, CAP_SYS_ADMIN) || (level <= 2 && has(facts, CAP_PERFMON)) {
        return finding.ok(format!("{level}, which does not bind these capabilities"));
    }
    if level <= 2 {
        return finding.ok(format!("{level}: asks for CAP_PERFMON"));
    }
    // A level of Debian and Ubuntu. Their older kernels ask for CAP_SYS_ADMIN beyond it (security-perf-allow-further-restriction).
    const FIX: &str = "sysctl kernel.perf_event_paranoid=2, or run with sudo";
    if matches!(facts.trial.perf_event, Step::Failed { .. }) {
        return finding
            .problem(format!("{level}: this kernel refuses perf events without CAP_SYS_ADMIN"), FIX);
    }
    finding.warning(format!("{level}: some kernels refuse perf events without CAP_SYS_ADMIN"), FIX)
}

/// The rate of a capture that was not told another one.
const USUAL_HZ: i64 = 99;

fn sample_rate(facts: &Facts) -> Finding {
    let finding = Finding::about("perf_event_max_sample_rate");
    let Known::Is(rate) = facts.perf_event_max_sample_rate else {
        return unread(finding, &facts.perf_event_max_sample_rate);
    };
    if rate < USUAL_HZ {
        return finding.warning(
            format!("{rate}: ticks at {USUAL_HZ} Hz are throttled, and reported as unsampled"),
            "sysctl kernel.perf_event_max_sample_rate=100000",
        );
    }
    finding.ok(format!("{rate}: the most that -F can ask for without being throttled"))
}

fn cpu_time(facts: &Facts) -> Finding {
    let finding = Finding::about("perf_cpu_time_max_percent");
    let Known::Is(percent) = facts.perf_cpu_time_max_percent else {
        return unread(finding, &facts.perf_cpu_time_max_percent);
    };
    match percent {
        // Both switch the limit off (kernel/events/core.c, perf_event_max_sample_rate_handler).
        0 | 100 => finding.ok(format!("{percent}: the kernel never lowers the rate by itself")),
        1..5 => finding.warning(
            format!("{percent}: the kernel lowers the rate as soon as ticks take so much of a CPU"),
            "sysctl kernel.perf_cpu_time_max_percent=25",
        ),
        _ => finding.ok(format!("{percent}: the kernel lowers the rate where ticks take more of a CPU")),
    }
}

fn unprivileged_bpf(facts: &Facts) -> Finding {
    let finding = Finding::about("unprivileged_bpf_disabled");
    let Known::Is(value) = facts.unprivileged_bpf_disabled else {
        return unread(finding, &facts.unprivileged_bpf_disabled);
    };
    finding.ok(format!("{value}: does not matter to who has CAP_BPF"))
}

fn jit(facts: &Facts) -> Finding {
    let finding = Finding::about("bpf_jit_enable");
    match facts.bpf_jit_enable {
        Known::Is(0) => finding.warning(
            "0: programs are interpreted, a tick takes several times as long".into(),
            "sysctl net.core.bpf_jit_enable=1",
        ),
        Known::Is(value) => finding.ok(value.to_string()),
        // Root of the host alone may read it, and in other network namespaces it is not shown.
        Known::Hidden(ref why) => finding.unseen(format!("cannot be read: {why}")),
        Known::Missing => finding.unseen("not shown in this network namespace".into()),
    }
}

fn lockdown(facts: &Facts) -> Finding {
    let finding = Finding::about("lockdown");
    match &facts.lockdown {
        Known::Is(mode) if mode == "confidentiality" => finding.problem(
            "confidentiality: the kernel forbids BPF to read memory and perf to sample".into(),
            "boot with lockdown=integrity or without lockdown",
        ),
        Known::Is(mode) => finding.ok(mode.clone()),
        Known::Missing => finding.ok("this kernel has none, or does not show it".into()),
        Known::Hidden(why) => finding.unseen(format!("cannot be read: {why}")),
    }
}

fn seccomp(facts: &Facts) -> Finding {
    let finding = Finding::about("seccomp");
    match facts.status.seccomp {
        None => finding.ok("this kernel has none".into()),
        Some(0) => finding.ok("no filter".into()),
        Some(_) if tried::is_filtered(facts) => finding.problem(
            "a filter, and the calls that it should let through fail though no capability is missing".into(),
            tried::UNFILTERED,
        ),
        Some(_) => finding
            .ok("a filter; whether it lets bpf(2) and perf_event_open(2) through is tried below".into()),
    }
}

fn memlock(facts: &Facts) -> Finding {
    let finding = Finding::about("memlock");
    let what = match facts.memlock_bytes {
        None => "unlimited".to_owned(),
        Some(bytes) => format!("{} KB", bytes / 1024),
    };
    if !older(facts, WITHOUT_MEMLOCK) {
        return finding.ok(format!("{what}, which does not bind BPF from Linux 5.11 on"));
    }
    if facts.memlock_bytes.is_none_or(|bytes| bytes >= MEMLOCK_BYTES) {
        return finding.ok(what);
    }
    if has(facts, CAP_SYS_RESOURCE) {
        return finding.ok(format!("{what}; CAP_SYS_RESOURCE lets pyprof-bpf raise its own"));
    }
    let what = format!("{what}: this kernel charges BPF maps to it, and they need up to 64 MB");
    finding.problem(what, "ulimit -l unlimited, or grant CAP_SYS_RESOURCE")
}

fn ptrace_scope(facts: &Facts) -> Finding {
    let finding = Finding::about("ptrace_scope");
    match facts.ptrace_scope {
        Known::Is(3) => finding.problem(
            "3: nobody may read another process's memory".into(),
            "boot with kernel.yama.ptrace_scope at 2 or less; 3 cannot be taken back",
        ),
        Known::Is(value) if value > 0 && !has(facts, CAP_SYS_PTRACE) => finding.warning(
            format!("{value}: even processes of the same user may be read with CAP_SYS_PTRACE only"),
            "run with sudo",
        ),
        Known::Is(value) => finding.ok(value.to_string()),
        Known::Missing => finding.ok("Yama is not in force".into()),
        Known::Hidden(ref why) => finding.unseen(format!("cannot be read: {why}")),
    }
}

fn hidden_processes(facts: &Facts) -> Finding {
    let finding = Finding::about("hidepid");
    let Some(mounts) = facts.mounts.get() else {
        return finding.unseen("the list of mounts is not there".into());
    };
    match mounts.hidepid.as_deref() {
        None | Some("0" | "off") => finding.ok("none: /proc shows all processes".into()),
        Some(value) if has(facts, CAP_SYS_PTRACE) => {
            finding.ok(format!("{value}, which does not bind CAP_SYS_PTRACE"))
        }
        Some(value) => {
            finding.warning(format!("{value}: /proc hides other users' processes"), "run with sudo")
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
