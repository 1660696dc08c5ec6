//! What the verifier says of each program that a process loads. `bpf_prog_info` counts only from 5.16 on, and the log of a
//! load that succeeds is what a loader does not ask for: so the process is traced, and asks for statistics all the same.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

/// `BPF_PROG_LOAD` (`include/uapi/linux/bpf.h`, `enum bpf_cmd`).
const PROG_LOAD: u64 = 5;
/// Of `union bpf_attr`, the part of that command; bytes.
const LOG_LEVEL: usize = 24;
const PROG_NAME: usize = 48;
const NAME_BYTES: usize = 16;
const ATTR_BYTES: usize = PROG_NAME + NAME_BYTES;
/// `BPF_LOG_STATS` (`include/linux/bpf_verifier.h`): a few lines; on 6.12 and 6.18 also one for each call of a global function
/// that the verifier goes through (`check_func_call`).
const STATISTICS: u32 = 4;
const LOG_BYTES: usize = 1 << 15;
/// Below the stack pointer, out of reach of what is there (the red zone of the ABI).
const BELOW_STACK: u64 = 1 << 16;

/// Who loads programs beside ours: probes for what the kernel has, without such a name.
const PREFIX: &str = "pyprof_";

/// A program that is being loaded: its name, and where its log goes.
struct Load {
    name: String,
    log: u64,
}

/// Runs the command to its end; names and instructions of what it loaded, and how it ended.
pub(super) fn watch(command: &mut Command) -> Result<(Vec<(String, u64)>, ExitStatus)> {
    // SAFETY: ptrace is a plain system call, which touches nothing of the parent.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let child = command.spawn().context("failed to start")?;
    let leader = child.id() as i32;
    let mut loads: BTreeMap<i32, Load> = BTreeMap::new();
    let mut counts = Vec::new();
    let mut is_started = false;
    loop {
        let mut status = 0;
        // SAFETY: a place for the status.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
        if pid < 0 {
            return Err(io::Error::last_os_error()).context("failed to wait");
        }
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if pid != leader {
                continue;
            }
            return Ok((counts, ExitStatus::from_raw(status)));
        }
        let mut signal = 0;
        if !is_started {
            // The trap of exec.
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            // SAFETY: our own child, stopped.
            unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) };
            is_started = true;
        } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
            match loads.remove(&pid) {
                Some(load) => counts.extend(finish(pid, load)?),
                None => {
                    if let Some(load) = begin(pid)? {
                        loads.insert(pid, load);
                    }
                }
            }
        } else if !matches!(libc::WSTOPSIG(status), libc::SIGTRAP | libc::SIGSTOP) {
            signal = libc::WSTOPSIG(status);
        }
        // SAFETY: our own child, stopped.
        unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, signal) };
    }
}

/// At a system call's entry or exit: if it enters the load of a program, that program, which will be told of.
fn begin(pid: i32) -> Result<Option<Load>> {
    let Some(call) = Call::of(pid)? else { return Ok(None) };
    if call.number != libc::SYS_bpf as u64 || call.command != PROG_LOAD || call.size < ATTR_BYTES as u64 {
        return Ok(None);
    }
    let mut attr = [0; ATTR_BYTES];
    copy(pid, call.attr, &mut attr, false).context("failed to read what is loaded")?;
    let name: Vec<u8> = attr[PROG_NAME..].iter().copied().take_while(|byte| *byte != 0).collect();
    let name = String::from_utf8_lossy(&name).into_owned();
    let level = u32::from_ne_bytes([attr[24], attr[25], attr[26], attr[27]]);
    if !name.starts_with(PREFIX) || level != 0 {
        return Ok(None);
    }
    let log = call.stack.saturating_sub(BELOW_STACK) & !7;
    let mut wanted = [0; 16];
    wanted[..4].copy_from_slice(&STATISTICS.to_ne_bytes());
    wanted[4..8].copy_from_slice(&(LOG_BYTES as u32).to_ne_bytes());
    wanted[8..].copy_from_slice(&log.to_ne_bytes());
    copy(pid, call.attr + LOG_LEVEL as u64, &mut wanted, true).context("failed to ask for statistics")?;
    Ok(Some(Load { name, log }))
}

/// At the exit: what the verifier said, unless it refused.
fn finish(pid: i32, load: Load) -> Result<Option<(String, u64)>> {
    let Some(call) = Call::of(pid)? else { return Ok(None) };
    if call.result < 0 {
        return Ok(None);
    }
    let mut log = [0; LOG_BYTES];
    copy(pid, load.log, &mut log, false).context("failed to read the log")?;
    let log: Vec<u8> = log.iter().copied().take_while(|byte| *byte != 0).collect();
    let log = String::from_utf8_lossy(&log).into_owned();
    let count = processed(&log).with_context(|| format!("the verifier said {log:?}"))?;
    Ok(Some((load.name, count)))
}

/// `processed %d insns (limit ...` (`kernel/bpf/verifier.c`, `print_verification_stats`).
fn processed(log: &str) -> Option<u64> {
    let rest = log.lines().find_map(|line| line.strip_prefix("processed "))?;
    rest.split_once(" insns")?.0.parse().ok()
}

/// What the registers say at a system call.
struct Call {
    number: u64,
    command: u64,
    attr: u64,
    size: u64,
    stack: u64,
    result: i64,
}

impl Call {
    #[cfg(target_arch = "x86_64")]
    fn of(pid: i32) -> Result<Option<Call>> {
        // SAFETY: plain integers.
        let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: a stopped child, and a place for its registers.
        if unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut regs) } != 0 {
            return Err(io::Error::last_os_error()).context("failed to read the registers");
        }
        let libc::user_regs_struct { orig_rax, rdi, rsi, rdx, rsp, rax, .. } = regs;
        Ok(Some(Call {
            number: orig_rax,
            command: rdi,
            attr: rsi,
            size: rdx,
            stack: rsp,
            result: rax as i64,
        }))
    }

    /// The first argument and the result share a register: what enters the kernel is told from what leaves it by who asks.
    #[cfg(target_arch = "aarch64")]
    fn of(pid: i32) -> Result<Option<Call>> {
        // SAFETY: plain integers.
        let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let mut place = libc::iovec { iov_base: (&raw mut regs).cast(), iov_len: size_of_val(&regs) };
        // SAFETY: a stopped child, and a place for its registers.
        if unsafe { libc::ptrace(libc::PTRACE_GETREGSET, pid, libc::NT_PRSTATUS, &raw mut place) } != 0 {
            return Err(io::Error::last_os_error()).context("failed to read the registers");
        }
        let [first, attr, size, ..] = regs.regs;
        Ok(Some(Call {
            number: regs.regs[8],
            command: first,
            attr,
            size,
            stack: regs.sp,
            result: first as i64,
        }))
    }

    /// Not read there: no counts.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn of(_pid: i32) -> Result<Option<Call>> {
        Ok(None)
    }
}

/// Memory of a stopped child, read or written (`/proc/PID/mem` also grows its stack).
fn copy(pid: i32, address: u64, bytes: &mut [u8], is_write: bool) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let memory = std::fs::File::options().read(true).write(is_write).open(format!("/proc/{pid}/mem"))?;
    if is_write { memory.write_all_at(bytes, address) } else { memory.read_exact_at(bytes, address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_what_the_verifier_processed() {
        let check = |log: &str, expected| assert_eq!(processed(log), expected, "{log}");
        check(
            "verification time 12 usec\nstack depth 96\nprocessed 958 insns (limit 1000000) max",
            Some(958),
        );
        check("stack depth 8 max 16\ninsns processed 85\nprocessed 85 insns (limit 1000000) max", Some(85));
        check("", None);
        check("processed many insns", None);
    }
}
