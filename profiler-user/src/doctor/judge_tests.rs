//! A host in order, and rows that each change one thing about it: what must be said then, and what must not.

use std::time::Duration;

use super::*;
use crate::bpf::{Loaded, Ran, Trial};
use crate::doctor::facts::{KernelConfig, Mounts, OwnStatus, Python, Pythons, Refused, Source, State};
use crate::doctor::finding::Level;

const ROOT: u64 = (1 << 41) - 1;

fn python(state: State) -> Python {
    Python { pid: 4711, name: "app.py".into(), version: "3.11.7".into(), state }
}

fn ready(verified: bool) -> State {
    State::Ready { threads: 2, layout: Source::Table, verified }
}

/// Root on Linux 6.1 with everything that there is.
pub(in crate::doctor) fn host() -> Facts {
    let options = OPTIONS.iter().chain(&["DEBUG_INFO_BTF"]);
    Facts {
        machine: "x86_64".into(),
        release: "6.1.0-50-amd64".into(),
        config: Known::Is(KernelConfig {
            file: "/boot/config-6.1.0-50-amd64".into(),
            options: options.map(|option| ((*option).to_owned(), "y".to_owned())).collect(),
        }),
        types: Types::Usable { file: "/sys/kernel/btf/vmlinux".into(), bytes: 5_000_000 },
        is_root: true,
        status: OwnStatus { effective: Some(ROOT), seccomp: Some(0) },
        mounts: Known::Is(Mounts::default()),
        is_initial_user_namespace: Known::Is(true),
        perf_event_paranoid: Known::Is(2),
        perf_event_max_sample_rate: Known::Is(100_000),
        perf_cpu_time_max_percent: Known::Is(25),
        unprivileged_bpf_disabled: Known::Is(2),
        bpf_jit_enable: Known::Is(1),
        ptrace_scope: Known::Is(1),
        lockdown: Known::Is("none".into()),
        security_modules: Known::Is("lockdown,capability,yama,apparmor".into()),
        memlock_bytes: Some(8 << 20),
        is_initial_pid_namespace: Known::Is(true),
        has_clocks_of_the_host: true,
        container: None,
        clock_source: Known::Is("tsc".into()),
        trial: Trial {
            perf_event: Step::Done(()),
            bpf_call: Step::Done(()),
            load: Step::Done(Loaded {
                took: Duration::from_millis(300),
                verifier: Duration::from_millis(90),
            }),
            run: Step::Done(Ran { attached_in: Duration::from_millis(1), ticks: 9, events: 1 }),
            detach: Step::Done(Duration::from_millis(20)),
        },
        pythons: Pythons { found: vec![python(ready(true))], ..Pythons::default() },
    }
}

fn refused_processes() -> Vec<Refused> {
    (1..=5).map(|pid| Refused { pid, name: "sshd".into(), why: "it may not be read" }).collect()
}

fn refused<T>(errno: i32) -> Step<T> {
    Step::Failed { errno: Some(errno), what: "failed: no\nverifier says".into() }
}

/// Capabilities of a process that has exactly these.
fn only(facts: &mut Facts, bits: &[u32]) {
    facts.status.effective = Some(bits.iter().fold(0, |all, bit| all | 1 << bit));
}

const CAP_BPF: u32 = 39;
const FEW: [u32; 3] = [CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE];

type Change = fn(&mut Facts);
/// What changes; what the finding is about; its level; words of it; words of the fix.
type Row = (Change, &'static str, Level, &'static [&'static str], &'static [&'static str]);

const ROWS: &[Row] = &[
    (|_| {}, "kernel", Level::Ok, &["6.1.0-50-amd64", "x86_64"], &[]),
    (|it| it.release = "4.18.0-553.el8".into(), "kernel", Level::Problem, &["5.8"], &["5.10"]),
    (|it| it.release = "5.8.18".into(), "kernel", Level::Warning, &["oldest"], &["5.10"]),
    (|it| it.release = "5.10.0".into(), "kernel", Level::Ok, &[], &[]),
    (|it| it.release = "7.2.13".into(), "kernel", Level::Ok, &[], &[]),
    (|it| it.release = "custom".into(), "kernel", Level::Unseen, &["custom"], &[]),
    (|it| it.machine = "aarch64".into(), "kernel", Level::Warning, &["aarch64"], &["trial"]),
    (|_| {}, "kernel config", Level::Ok, &["/boot/config", "BTF"], &[]),
    (|it| it.config = Known::Missing, "kernel config", Level::Unseen, &["/proc/config.gz"], &[]),
    (|it| it.config = Known::Hidden("denied".into()), "kernel config", Level::Unseen, &["denied"], &[]),
    (
        |it| drop_options(it, &["BPF_SYSCALL", "BPF_EVENTS"]),
        "kernel config",
        Level::Problem,
        &["CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS"],
        &["CONFIG_BPF_EVENTS"],
    ),
    (|it| drop_options(it, &["DEBUG_INFO_BTF"]), "kernel config", Level::Ok, &["no BTF"], &[]),
    (
        |it| it.types = Types::Missing { file: "/f".into(), why: "not there".into() },
        "BTF",
        Level::Problem,
        &["/f", "not there"],
        &["--btf", "/sys"],
    ),
    (
        |it| it.types = Types::Unusable { file: "/f".into(), why: "failed to find mm".into() },
        "BTF",
        Level::Problem,
        &["mm"],
        &["--btf", "running kernel"],
    ),
    (|_| {}, "tracefs", Level::Ok, &["not needed"], &[]),
    (
        |it| it.mounts = Known::Is(Mounts { tracefs: Some("/t".into()), hidepid: None }),
        "tracefs",
        Level::Ok,
        &["/t"],
        &[],
    ),
    (|it| it.mounts = Known::Hidden("no".into()), "tracefs", Level::Unseen, &["no"], &[]),
    (|_| {}, "capabilities", Level::Ok, &["CAP_BPF", "CAP_CHECKPOINT_RESTORE"], &[]),
    (|it| only(it, &FEW), "capabilities", Level::Ok, &["CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE"], &[]),
    (|it| only(it, &[CAP_SYS_ADMIN, CAP_SYS_PTRACE]), "capabilities", Level::Ok, &["CAP_SYS_ADMIN"], &[]),
    (|it| it.status.effective = None, "capabilities", Level::Unseen, &["/proc/self/status"], &[]),
    (
        |it| only(it, &[CAP_BPF, CAP_PERFMON]),
        "capabilities",
        Level::Problem,
        &["missing CAP_SYS_PTRACE"],
        &["--cap-add SYS_PTRACE", "add: [SYS_PTRACE]"],
    ),
    (
        |it| {
            it.is_root = false;
            only(it, &[]);
        },
        "capabilities",
        Level::Problem,
        &["CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE"],
        &["sudo", "setcap cap_bpf,"],
    ),
    (
        |it| it.is_initial_user_namespace = Known::Is(false),
        "user namespace",
        Level::Problem,
        &["count for nothing"],
        &["host's"],
    ),
    (|it| it.is_initial_user_namespace = Known::Missing, "user namespace", Level::Ok, &[], &[]),
    (
        |it| it.is_initial_user_namespace = Known::Hidden("x".into()),
        "user namespace",
        Level::Unseen,
        &["x"],
        &[],
    ),
    (
        |it| it.is_initial_pid_namespace = Known::Is(false),
        "pid namespace",
        Level::Problem,
        &[],
        &["--pid=host", "hostPID"],
    ),
    (
        |it| it.is_initial_pid_namespace = Known::Missing,
        "pid namespace",
        Level::Problem,
        &["/proc"],
        &["mount"],
    ),
    (|it| it.has_clocks_of_the_host = false, "clock", Level::Problem, &["time namespace"], &["nsenter"]),
    (|it| it.clock_source = Known::Is("hpet".into()), "clock", Level::Warning, &["hpet"], &["tsc"]),
    (|it| it.clock_source = Known::Is("kvm-clock".into()), "clock", Level::Ok, &["kvm-clock"], &[]),
    (|it| it.clock_source = Known::Missing, "clock", Level::Unseen, &[], &[]),
    (|_| {}, "container", Level::Ok, &["none"], &[]),
    (|it| it.container = Some("0123abc".into()), "container", Level::Ok, &["0123abc"], &[]),
    (|it| it.perf_event_paranoid = Known::Is(4), "perf_event_paranoid", Level::Ok, &["4"], &[]),
    (
        |it| {
            only(it, &FEW);
            it.perf_event_paranoid = Known::Is(3);
        },
        "perf_event_paranoid",
        Level::Warning,
        &["3", "some kernels"],
        &["sysctl kernel.perf_event_paranoid=2"],
    ),
    (
        |it| {
            only(it, &FEW);
            it.perf_event_paranoid = Known::Is(3);
            it.trial.perf_event = refused(libc::EACCES);
        },
        "perf_event_paranoid",
        Level::Problem,
        &["3", "this kernel refuses"],
        &["sysctl kernel.perf_event_paranoid=2"],
    ),
    (|it| only(it, &[]), "perf_event_paranoid", Level::Ok, &["CAP_PERFMON"], &[]),
    (|it| it.perf_event_paranoid = Known::Missing, "perf_event_paranoid", Level::Ok, &["no such"], &[]),
    (
        |it| it.perf_event_paranoid = Known::Hidden("x".into()),
        "perf_event_paranoid",
        Level::Unseen,
        &["x"],
        &[],
    ),
    (
        |it| it.perf_event_max_sample_rate = Known::Is(50),
        "perf_event_max_sample_rate",
        Level::Warning,
        &["50", "unsampled"],
        &["sysctl"],
    ),
    (
        |it| it.perf_event_max_sample_rate = Known::Is(99),
        "perf_event_max_sample_rate",
        Level::Ok,
        &["99"],
        &[],
    ),
    (
        |it| it.perf_cpu_time_max_percent = Known::Is(1),
        "perf_cpu_time_max_percent",
        Level::Warning,
        &["1"],
        &["sysctl"],
    ),
    (
        |it| it.perf_cpu_time_max_percent = Known::Is(0),
        "perf_cpu_time_max_percent",
        Level::Ok,
        &["never"],
        &[],
    ),
    (|it| it.unprivileged_bpf_disabled = Known::Is(0), "unprivileged_bpf_disabled", Level::Ok, &["0"], &[]),
    (
        |it| it.bpf_jit_enable = Known::Is(0),
        "bpf_jit_enable",
        Level::Warning,
        &["interpreted"],
        &["net.core.bpf_jit_enable=1"],
    ),
    (|it| it.bpf_jit_enable = Known::Hidden("x".into()), "bpf_jit_enable", Level::Unseen, &["x"], &[]),
    (|it| it.lockdown = Known::Is("integrity".into()), "lockdown", Level::Ok, &["integrity"], &[]),
    (
        |it| it.lockdown = Known::Is("confidentiality".into()),
        "lockdown",
        Level::Problem,
        &["forbids"],
        &["lockdown=integrity"],
    ),
    (|it| it.lockdown = Known::Missing, "lockdown", Level::Ok, &["none"], &[]),
    (|it| it.status.seccomp = Some(2), "seccomp", Level::Ok, &["tried below"], &[]),
    (
        |it| {
            it.status.seccomp = Some(2);
            it.trial.bpf_call = refused(libc::EPERM);
        },
        "seccomp",
        Level::Problem,
        &["filter"],
        &["seccomp=unconfined", "Unconfined"],
    ),
    (
        |it| {
            it.status.seccomp = Some(2);
            it.trial.bpf_call = refused(libc::EPERM);
            only(it, &[]);
        },
        "seccomp",
        Level::Ok,
        &["tried below"],
        &[],
    ),
    (|it| it.status.seccomp = None, "seccomp", Level::Ok, &[], &[]),
    (|_| {}, "memlock", Level::Ok, &["8192 KB", "5.11"], &[]),
    (
        |it| {
            it.release = "5.10.0".into();
            only(it, &FEW);
        },
        "memlock",
        Level::Problem,
        &["8192 KB"],
        &["ulimit -l unlimited"],
    ),
    (|it| it.release = "5.10.0".into(), "memlock", Level::Ok, &["CAP_SYS_RESOURCE"], &[]),
    (
        |it| {
            it.release = "5.10.0".into();
            it.memlock_bytes = None;
            only(it, &FEW);
        },
        "memlock",
        Level::Ok,
        &["unlimited"],
        &[],
    ),
    (|it| it.ptrace_scope = Known::Is(3), "ptrace_scope", Level::Problem, &["nobody"], &["boot"]),
    (|it| only(it, &[]), "ptrace_scope", Level::Warning, &["CAP_SYS_PTRACE"], &["sudo"]),
    (|it| it.ptrace_scope = Known::Missing, "ptrace_scope", Level::Ok, &["Yama"], &[]),
    (|it| hide(it), "hidepid", Level::Ok, &["does not bind"], &[]),
    (
        |it| {
            hide(it);
            only(it, &[]);
        },
        "hidepid",
        Level::Warning,
        &["hides"],
        &["sudo"],
    ),
    (
        |it| it.trial.perf_event = refused(libc::ENOSYS),
        "perf event",
        Level::Problem,
        &["failed: no"],
        &["audit log", "apparmor"],
    ),
    (|it| it.trial.bpf_call = refused(libc::EPERM), "bpf(2)", Level::Problem, &["failed: no"], &["apparmor"]),
    (
        |it| {
            it.trial.bpf_call = refused(libc::EPERM);
            it.status.seccomp = Some(2);
        },
        "bpf(2)",
        Level::Problem,
        &[],
        &["seccomp=unconfined"],
    ),
    (
        |it| {
            it.trial.bpf_call = refused(libc::EPERM);
            only(it, &[]);
        },
        "bpf(2)",
        Level::Unseen,
        &["problems above"],
        &[],
    ),
    (
        |it| it.trial.load = refused(libc::EINVAL),
        "programs",
        Level::Problem,
        &["failed: no"],
        &["docs/doctor.md"],
    ),
    (
        |it| {
            it.types = Types::Missing { file: "/f".into(), why: "not there".into() };
            it.trial.load = refused(libc::ENOENT);
        },
        "programs",
        Level::Unseen,
        &["BTF"],
        &[],
    ),
    (|_| {}, "programs", Level::Ok, &["300 ms", "90 ms", "verifier"], &[]),
    (
        |it| it.trial.load = Step::Done(Loaded { took: Duration::from_secs(6), verifier: Duration::ZERO }),
        "programs",
        Level::Warning,
        &["6000 ms"],
        &["earlier"],
    ),
    (|it| it.trial.run = Step::NotTried, "ticks and ring", Level::Unseen, &["not tried"], &[]),
    (|_| {}, "ticks and ring", Level::Ok, &["9 ticks", "1 start of"], &[]),
    (
        |it| it.trial.run = Step::Done(Ran { attached_in: Duration::ZERO, ticks: 0, events: 1 }),
        "ticks and ring",
        Level::Problem,
        &["cpu-clock"],
        &["perf stat"],
    ),
    (
        |it| it.trial.run = Step::Done(Ran { attached_in: Duration::ZERO, ticks: 1, events: 0 }),
        "ticks and ring",
        Level::Problem,
        &["tracepoints"],
        &["gVisor"],
    ),
    (|_| {}, "detach", Level::Ok, &["20 ms"], &[]),
    (|_| {}, "Python processes", Level::Ok, &["1 can be unwound"], &[]),
    (|it| it.pythons = Pythons::default(), "Python processes", Level::Ok, &["none runs"], &[]),
    (
        |it| it.pythons.refused = refused_processes(),
        "Python processes",
        Level::Unseen,
        &["5 could not be looked at: sshd (pid 1), sshd (pid 2), sshd (pid 3), 2 more"],
        &["even from CAP_SYS_PTRACE"],
    ),
    (
        |it| {
            it.pythons.refused = refused_processes();
            only(it, &[]);
        },
        "Python processes",
        Level::Unseen,
        &["5 could not be looked at: sshd (pid 1), sshd (pid 2), sshd (pid 3), 2 more"],
        &["sudo"],
    ),
    (
        |it| it.pythons.failed = Some("x".into()),
        "Python processes",
        Level::Problem,
        &["x"],
        &["/proc/self/exe"],
    ),
    (
        |it| it.pythons.found.push(python(State::Not("PyPy 3.9".into()))),
        "Python processes",
        Level::Warning,
        &["1 can be unwound", "1 cannot"],
        &["support.md"],
    ),
    (
        |it| it.pythons.found.push(python(ready(false))),
        "Python processes",
        Level::Warning,
        &["1 of them", "not tested"],
        &["support.md"],
    ),
    (
        |it| it.pythons.found.push(python(State::Dormant)),
        "Python processes",
        Level::Ok,
        &["without Python threads"],
        &[],
    ),
];

fn drop_options(facts: &mut Facts, options: &[&str]) {
    if let Known::Is(config) = &mut facts.config {
        config.options.retain(|name, _| !options.contains(&name.as_str()));
    }
}

fn hide(facts: &mut Facts) {
    facts.mounts = Known::Is(Mounts { tracefs: None, hidepid: Some("2".into()) });
}

#[test]
fn every_finding_follows_from_its_facts() {
    for (number, (change, about, level, words, fixes)) in ROWS.iter().enumerate() {
        let mut facts = host();
        change(&mut facts);
        let findings = judge(&facts);
        let finding = findings.iter().find(|finding| finding.about == *about).expect(about);
        assert_eq!(finding.level, *level, "row {number}: {finding:?}");
        for word in *words {
            assert!(finding.what.contains(word), "row {number}: no {word:?} in {finding:?}");
        }
        let fix = finding.fix.as_deref().unwrap_or_default();
        for word in *fixes {
            assert!(fix.contains(word), "row {number}: no {word:?} in {finding:?}");
        }
        // What is bad has a mend, what is well has none, and both fit on their lines.
        assert!(*level < Level::Warning || finding.fix.is_some(), "row {number}: {finding:?}");
        assert!(*level != Level::Ok || finding.fix.is_none(), "row {number}: {finding:?}");
        assert!(!finding.what.contains('\n') && !fix.contains('\n'), "row {number}: {finding:?}");
    }
}

#[test]
fn a_host_in_order_has_nothing_but_good_findings() {
    let findings = judge(&host());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    let mut abouts: Vec<&str> = findings.iter().map(|finding| finding.about).collect();
    for about in &abouts {
        assert!(ROWS.iter().any(|row| row.1 == *about), "no row is about {about}");
    }
    abouts.sort_unstable();
    abouts.dedup();
    assert_eq!(abouts.len(), findings.len(), "two findings of one name");
}
