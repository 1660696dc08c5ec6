//! Runs a command with less than root has: fewer capabilities, another user, a filter of system calls.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Scratch, capture};

/// Bits of capabilities (`include/uapi/linux/capability.h`).
pub const SYS_PTRACE: u32 = 19;
pub const SYS_ADMIN: u32 = 21;
pub const PERFMON: u32 = 38;
pub const BPF: u32 = 39;
const LAST: u32 = 40;

/// Root's capabilities after exec are those of the bounding set.
pub fn keep(command: &mut Command, kept: impl Fn(u32) -> bool + Send + Sync + 'static) {
    // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
    unsafe {
        command.pre_exec(move || {
            for capability in (0..=LAST).filter(|capability| !kept(*capability)) {
                if libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

/// As nobody, which owns no process.
pub fn as_nobody(command: &mut Command) {
    command.uid(65534).gid(65534);
}

/// The binary where anybody may run it, and the directory that holds it.
pub fn shared_binary() -> (Scratch, PathBuf) {
    let scratch = Scratch::new("binary");
    let binary = scratch.path().join("pyprof-bpf");
    std::fs::copy(capture::binary(), &binary).expect("a copy");
    for path in [scratch.path(), Path::new(&binary)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("our own file");
    }
    (scratch, binary)
}

/// The system call is refused as by the filter of a container engine (`seccomp(2)`, classic BPF over `struct seccomp_data`,
/// whose first word is the number of the call).
pub fn refuse(command: &mut Command, call: libc::c_long, errno: i32) {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let operation = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        operation(LOAD_WORD, 0, 0, 0),
        operation(JUMP_IF_EQUAL, 0, 1, call as u32),
        operation(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        operation(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: prctl is async-signal-safe; the program lives until it was copied.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            match libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}
