//! Says before anything is loaded what would be missing, in words that name the mend.

use super::CaptureError;
use crate::bpf::BpfError;
use crate::process::own;

/// Bits of `CapEff` (`include/uapi/linux/capability.h`) and what each is for. `CAP_SYS_ADMIN` stands for the two
/// newer ones, as in the kernel.
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Everything that makes a difference, needed or useful.
pub const CAPABILITIES: [(&str, u32); 8] = [
    ("CAP_BPF", CAP_BPF),
    ("CAP_PERFMON", CAP_PERFMON),
    ("CAP_SYS_PTRACE", CAP_SYS_PTRACE),
    ("CAP_SYS_ADMIN", CAP_SYS_ADMIN),
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_SYS_NICE", 23),
    ("CAP_SYS_RESOURCE", 24),
    ("CAP_CHECKPOINT_RESTORE", 40),
];

/// Checks host and privileges.
pub fn check() -> Result<(), CaptureError> {
    if !cfg!(target_os = "linux") {
        return Err(CaptureError::HostUnsupported("this is not Linux".into()));
    }
    pid_namespace(own::in_initial_pid_namespace())?;
    if !own::has_clocks_of_the_host() {
        let what = "it runs in a time namespace with clocks of its own: needs the host's (nsenter -t 1 -T)";
        return Err(CaptureError::HostUnsupported(what.into()));
    }
    let missing = missing(own::effective_capabilities());
    if missing.is_empty() {
        return Ok(());
    }
    Err(CaptureError::NoPrivilege(format!(
        "missing {}: run with sudo, or grant the program these capabilities",
        missing.join(", ")
    )))
}

/// What is missing where a process may not be read.
pub fn how_to_read() -> String {
    if own::effective_capabilities() & (1 << CAP_SYS_PTRACE) != 0 {
        return "the kernel refuses it in spite of CAP_SYS_PTRACE (a user namespace, or a security module); \
                `pyprof-bpf doctor` looks at what is in the way"
            .into();
    }
    let scope = own::sysctl("kernel/yama/ptrace_scope").filter(|scope| scope != "0");
    let scope = scope.map(|scope| format!(" (kernel.yama.ptrace_scope is {scope})"));
    let scope = scope.unwrap_or_default();
    format!("needs CAP_SYS_PTRACE: run with sudo{scope}; `pyprof-bpf doctor` says what is missing")
}

/// The programs see the pids of the host. Where /proc and system calls name processes otherwise, each number would mean
/// another process; a pid of the host that names none here cannot be looked at, whatever it is translated to.
fn pid_namespace(is_initial: std::io::Result<bool>) -> Result<(), CaptureError> {
    let what = match is_initial {
        Ok(true) => return Ok(()),
        Ok(false) => {
            "it runs in a pid namespace of its own: needs the host's (hostPID: true, --pid=host)".to_owned()
        }
        Err(error) => {
            format!("this process is not in its proc ({error}): mount that of the host's pid namespace")
        }
    };
    Err(CaptureError::HostUnsupported(what))
}

/// The capabilities that nothing goes without.
pub fn missing(effective: u64) -> Vec<&'static str> {
    let has = |bit: u32| effective & (1 << bit) != 0;
    let admin = has(CAP_SYS_ADMIN);
    let needed = [
        ("CAP_BPF", has(CAP_BPF) || admin),
        ("CAP_PERFMON", has(CAP_PERFMON) || admin),
        ("CAP_SYS_PTRACE", has(CAP_SYS_PTRACE)),
    ];
    needed.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect()
}

/// What a refusal by the kernel means, where it was one.
pub fn explain(error: BpfError) -> CaptureError {
    if let BpfError::NoBtf { .. } | BpfError::Btf { .. } = error {
        return CaptureError::HostUnsupported(format!(
            "{error}\nneeded: the types of this very kernel, at /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF, and \
             /sys mounted) or in the file that --btf names"
        ));
    }
    if let BpfError::Lacks { .. } = error {
        return CaptureError::HostUnsupported(error.to_string());
    }
    if !error.is_refusal() {
        return CaptureError::Bpf(error);
    }
    let mut reasons = Vec::new();
    if let Some(level) = own::sysctl("kernel/perf_event_paranoid")
        && level.parse::<i32>().is_ok_and(|level| level > 2)
    {
        reasons.push(format!("kernel.perf_event_paranoid is {level}: set it to 2 or grant CAP_PERFMON"));
    }
    if own::lockdown().is_some_and(|mode| mode == "confidentiality") {
        reasons.push("kernel lockdown is in confidentiality mode, which forbids BPF to read memory".into());
    }
    if own::is_filtered() {
        reasons.push("a seccomp filter is in force: let it allow bpf(2) and perf_event_open(2)".into());
    }
    if reasons.is_empty() {
        reasons.push("CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, are missing in this user namespace".into());
    }
    CaptureError::NoPrivilege(format!("{error}\n{}", reasons.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::{CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE, explain, missing, pid_namespace};
    use crate::bpf::BpfError;
    use crate::exit::Exit;

    #[test]
    fn a_kernel_that_lacks_something_is_told_from_one_that_refuses() {
        let error = explain(BpfError::Lacks { what: "BPF ring buffers", since: "5.8" });
        assert_eq!(error.exit(), Exit::HostUnsupported);
        assert!(error.to_string().starts_with("this kernel has no BPF ring buffers (Linux 5.8)\n"));
        assert!(error.to_string().contains("pyprof-bpf doctor"), "{error}");
    }

    #[test]
    fn processes_must_have_the_numbers_that_the_kernel_has_for_them() {
        assert!(pid_namespace(Ok(true)).is_ok());
        for (seen, word) in [(Ok(false), "hostPID"), (Err(std::io::ErrorKind::NotFound.into()), "proc")] {
            let error = pid_namespace(seen).expect_err(word);
            assert_eq!(error.exit(), Exit::HostUnsupported);
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn every_missing_capability_is_named() {
        let bits = |bits: &[u32]| bits.iter().fold(0u64, |all, bit| all | 1 << bit);
        let rows: [(u64, &[&str]); 4] = [
            (0, &["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"]),
            (bits(&[CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE]), &[]),
            (bits(&[CAP_SYS_ADMIN]), &["CAP_SYS_PTRACE"]),
            (bits(&[CAP_BPF, CAP_SYS_PTRACE]), &["CAP_PERFMON"]),
        ];
        for (effective, expected) in rows {
            assert_eq!(missing(effective), expected, "{effective:#x}");
        }
    }
}
