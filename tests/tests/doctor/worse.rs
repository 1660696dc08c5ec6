//! Hosts that lack something, made of namespaces, filters and mounts: each must be told by name, with its mend.

use std::process::Command;

use pyprof_tests::capture;
use pyprof_tests::privileges::{BPF, PERFMON, SYS_ADMIN, SYS_PTRACE, as_nobody, keep, refuse, shared_binary};

use super::{Said, read};

/// The run ended with `code` and found these problems; that of `about` has `words` in its mend.
fn check(row: &str, mut command: Command, problems: &[&str], words: &[&str]) {
    let said = Said::by(&mut command);
    println!("{row}: {:?} {}", said.problems(), said.stderr.trim());
    let code = if problems.is_empty() { 0 } else { 8 };
    assert_eq!((said.code, said.problems().as_slice()), (Some(code), problems), "{row}");
    if let Some(about) = problems.first() {
        let fix = said.finding(about)["fix"].as_str().expect("a mend");
        assert!(words.iter().all(|word| fix.contains(word)), "{row}: {fix}");
    }
    assert!(!said.stderr.contains("panicked"), "{row}: {}", said.stderr);
}

/// The binary inside of what `unshare` makes with these arguments.
fn unshared(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(arguments).arg(capture::binary());
    command
}

/// The binary in mounts of its own, after these shell words.
fn mounted(before: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &format!("{before}\nexec \"$@\""), "sh"]).arg(capture::binary());
    command
}

#[test]
fn without_a_capability_it_is_named() {
    let rows: [(&[u32], &[&str]); 4] = [
        (&[BPF, SYS_ADMIN], &["--cap-add BPF", "[BPF]"]),
        (&[PERFMON, SYS_ADMIN], &["--cap-add PERFMON", "[PERFMON]"]),
        (&[SYS_PTRACE], &["--cap-add SYS_PTRACE", "[SYS_PTRACE]"]),
        (&[BPF, PERFMON, SYS_ADMIN, SYS_PTRACE], &["[BPF, PERFMON, SYS_PTRACE]"]),
    ];
    for (dropped, words) in rows {
        let mut command = Command::new(capture::binary());
        keep(&mut command, |capability| !dropped.contains(&capability));
        check(&format!("without {dropped:?}"), command, &["capabilities"], words);
    }
    let mut command = Command::new(capture::binary());
    keep(&mut command, |capability| [BPF, PERFMON, SYS_PTRACE].contains(&capability));
    check("with three", command, &[], &[]);
}

#[test]
fn nobody_is_told_what_it_could_not_see() {
    let (_directory, binary) = shared_binary();
    let mut command = Command::new(&binary);
    as_nobody(&mut command);
    command.current_dir("/");
    let said = Said::by(&mut command);
    assert_eq!((said.code, said.problems()), (Some(8), vec!["capabilities"]), "{}", said.stderr);
    let fix = said.finding("capabilities")["fix"].as_str().expect("a mend");
    assert!(fix.contains("sudo") && fix.contains("setcap"), "{fix}");
    for about in ["perf event", "bpf(2)", "programs", "ticks and ring", "detach", "Python processes"] {
        assert_eq!(said.level(about), "unseen", "{about}: {}", said.what(about));
    }
    // This very test is a process of root's: each that could not be looked at has its name and the reason.
    let refused = said.json["refused"].as_array().expect("a list");
    let own = refused.iter().find(|one| one["pid"] == std::process::id()).expect("this test");
    let comm = read("/proc/self/comm");
    assert_eq!((&own["name"], &own["why"]), (&comm.into(), &"it may not be read".into()));
    assert!(said.what("Python processes").contains(" (pid "), "{}", said.what("Python processes"));

    // Quiet leaves out what is well, verbose says all that the kernel said.
    let shown = |option: &str| {
        let mut command = Command::new(&binary);
        as_nobody(&mut command);
        let ran = command.current_dir("/").args(["doctor", option]).output().expect("it runs");
        String::from_utf8(ran.stdout).expect("text")
    };
    let (quiet, verbose) = (shown("-q"), shown("-v"));
    assert!(quiet.lines().all(|line| !line.starts_with("ok ")), "{quiet}");
    assert!(quiet.contains("problem  capabilities") && quiet.lines().count() < 20, "{quiet}");
    let line = format!("{}  {}  it may not be read", std::process::id(), read("/proc/self/comm"));
    assert!(verbose.lines().any(|it| it == line) && verbose.contains("No capture can begin"), "{verbose}");
}

#[test]
fn namespaces_of_its_own_are_named() {
    check("users", unshared(&["-U", "-r"]), &["user namespace"], &["rootless"]);
    check("pids", unshared(&["-p", "--fork"]), &["pid namespace"], &["--pid=host", "hostPID"]);
    check("pids and proc", unshared(&["-p", "--fork", "--mount-proc"]), &["pid namespace"], &["--pid=host"]);
    let clocks = ["--time", "--fork", "--monotonic", "1000", "--boottime", "1000"];
    check("clocks", unshared(&clocks), &["clock"], &["nsenter"]);
    check("network, names, ipc and control groups", unshared(&["-n", "-u", "-i", "-C"]), &[], &[]);
}

#[test]
fn a_filter_of_system_calls_is_named() {
    for (row, call, errno, about) in [
        ("bpf", libc::SYS_bpf, libc::EPERM, "bpf(2)"),
        ("bpf of an old engine", libc::SYS_bpf, libc::ENOSYS, "bpf(2)"),
        ("perf_event_open", libc::SYS_perf_event_open, libc::EPERM, "perf event"),
    ] {
        let mut command = Command::new(capture::binary());
        refuse(&mut command, call, errno);
        let said = Said::by(&mut command);
        println!("{row}: {:?}", said.problems());
        assert_eq!(said.code, Some(8), "{row}");
        for about in ["seccomp", about] {
            let finding = said.finding(about);
            assert_eq!(finding["level"], "problem", "{row}: {finding}");
            let fix = finding["fix"].as_str().expect("a mend");
            assert!(fix.contains("seccomp=unconfined") && fix.contains("Unconfined"), "{row}: {fix}");
        }
    }
}

#[test]
fn what_is_not_mounted_is_named() {
    let hide = |what: &str| format!("mount -t tmpfs none {what}");
    check("no sys", mounted(&hide("/sys")), &["BTF"], &["/sys", "--btf"]);
    let said = Said::by(&mut mounted(&hide("/proc")));
    assert_eq!(said.code, Some(8), "{}", said.stderr);
    assert!(said.problems().contains(&"pid namespace"), "{:?}", said.problems());
    assert_eq!(said.level("kernel config"), "unseen");
}

#[test]
fn types_of_another_kernel_are_named() {
    for (file, words) in [("/nowhere", "No such file"), ("/proc/self/exe", "format")] {
        let mut command = Command::new(capture::binary());
        command.args(["doctor", "--json", "--btf", file]);
        let ran = command.output().expect("it runs");
        let json: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("a report");
        let about = |name: &str| {
            json["findings"]
                .as_array()
                .and_then(|all| all.iter().find(|one| one["about"] == name))
                .cloned()
                .expect("it")
        };
        assert_eq!((ran.status.code(), &about("BTF")["level"]), (Some(8), &"problem".into()), "{file}");
        assert!(about("BTF")["what"].as_str().is_some_and(|what| what.contains(words)), "{file}");
    }
}
