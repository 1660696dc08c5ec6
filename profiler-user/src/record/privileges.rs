//! Says before anything is loaded what would be missing, in words that name the mend.

use super::RecordError;
use super::host::Host;
use crate::bpf::BpfError;
use crate::process::{own, scan};

/// Bits of `CapEff` (`include/uapi/linux/capability.h`) and what each is for. `CAP_SYS_ADMIN` stands for the two
/// newer ones, as in the kernel.
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The oldest kernel that has what the programs use: `bpf_loop` (5.17), `bpf_task_pt_regs` (5.15), the BPF ring buffer
/// (5.8).
const OLDEST: (u32, u32) = (5, 17);

/// Checks host and privileges.
pub fn check(host: &Host) -> Result<(), RecordError> {
    if !cfg!(target_os = "linux") {
        return Err(RecordError::HostUnsupported("this is not Linux".into()));
    }
    if let Some(version) = host.kernel_version()
        && version < OLDEST
    {
        let (major, minor) = OLDEST;
        return Err(RecordError::HostUnsupported(format!("kernel {}: needs {major}.{minor}", host.kernel)));
    }
    pid_namespace(scan::in_initial_pid_namespace())?;
    let missing = missing(own::effective_capabilities());
    if missing.is_empty() {
        return Ok(());
    }
    Err(RecordError::NoPrivilege(format!(
        "missing {}: run with sudo, or grant the program these capabilities",
        missing.join(", ")
    )))
}

/// The programs see the pids of the host. Where /proc and system calls name processes otherwise, each number would mean
/// another process; a pid of the host that names none here cannot be looked at, whatever it is translated to.
fn pid_namespace(is_initial: std::io::Result<bool>) -> Result<(), RecordError> {
    let what = match is_initial {
        Ok(true) => return Ok(()),
        Ok(false) => {
            "it runs in a pid namespace of its own: needs the host's (hostPID: true, --pid=host)".to_owned()
        }
        Err(error) => {
            format!("/proc does not show this process ({error}): mount the proc of the host's pid namespace")
        }
    };
    Err(RecordError::HostUnsupported(what))
}

fn missing(effective: u64) -> Vec<&'static str> {
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
pub fn explain(error: BpfError) -> RecordError {
    if let BpfError::NoBtf { .. } | BpfError::Btf { .. } = error {
        return RecordError::HostUnsupported(format!(
            "{error}\nneeded: CONFIG_DEBUG_INFO_BTF, and /sys mounted"
        ));
    }
    if !error.is_refusal() {
        return RecordError::Bpf(error);
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
    if reasons.is_empty() {
        reasons.push("CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, are missing in this user namespace".into());
    }
    RecordError::NoPrivilege(format!("{error}\n{}", reasons.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::{CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE, check, missing, pid_namespace};
    use crate::exit::Exit;
    use crate::record::host::Host;

    #[test]
    fn an_old_kernel_is_refused_by_version_before_anything_else() {
        for kernel in ["5.4", "4.19.0-27-amd64", "5.16.20"] {
            let host = Host { name: "host".into(), kernel: kernel.into() };
            let error = check(&host).expect_err(kernel);
            assert_eq!(error.exit(), Exit::HostUnsupported);
            assert_eq!(error.to_string(), format!("kernel {kernel}: needs 5.17"));
        }
    }

    #[test]
    fn processes_must_have_the_numbers_that_the_kernel_has_for_them() {
        assert!(pid_namespace(Ok(true)).is_ok());
        for (seen, word) in [(Ok(false), "hostPID"), (Err(std::io::ErrorKind::NotFound.into()), "/proc")] {
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
