//! Offsets of kernel fields from the running kernel's BTF (`/sys/kernel/btf/vmlinux`; format: `include/uapi/linux/btf.h`).
//!
//! A small reader of its own: the programs need eleven numbers, and loading the whole of BTF into a general model takes
//! tens of megabytes.

use profiler_common::KernelOffsets;
use profiler_common::config::{SwitchOffsets, UserRegs};

use super::BpfError;

pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
/// typedef, volatile, const, restrict: the type meant is the one they refer to.
const KINDS_TRANSPARENT: [u32; 4] = [8, 9, 10, 11];
/// Anonymous members are searched this deep.
const MAX_DEPTH: u32 = 8;

struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where type N (from 1) begins in `types`.
    starts: Vec<u32>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

struct Type {
    name: u32,
    kind: u32,
    kind_flag: bool,
    members: u32,
    /// Size, or the type referred to.
    size_or_type: u32,
    /// Where members begin.
    body: usize,
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Btf<'a>> {
        let magic = u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let header = u32_at(bytes, 4)? as usize;
        let section = |offset: usize, length: usize| -> Option<&'a [u8]> {
            let start = header.checked_add(u32_at(bytes, offset)? as usize)?;
            bytes.get(start..start.checked_add(u32_at(bytes, length)? as usize)?)
        };
        let types = section(8, 12)?;
        let strings = section(16, 20)?;
        let mut btf = Btf { types, strings, starts: Vec::new() };
        let mut at = 0;
        while at < types.len() {
            btf.starts.push(at as u32);
            let ty = btf.read(at)?;
            let members = ty.members as usize;
            at = ty.body
                + match ty.kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    KIND_STRUCT | KIND_UNION | 15 | 19 => members * 12,
                    6 | 13 => members * 8,
                    2 | 7 | 8 | 9 | 10 | 11 | 12 | 16 | 18 => 0,
                    _ => return None,
                };
        }
        Some(btf)
    }

    fn read(&self, at: usize) -> Option<Type> {
        let info = u32_at(self.types, at + 4)?;
        Some(Type {
            name: u32_at(self.types, at)?,
            kind: (info >> 24) & 0x1f,
            kind_flag: info >> 31 != 0,
            members: info & 0xffff,
            size_or_type: u32_at(self.types, at + 8)?,
            body: at + 12,
        })
    }

    fn name_is(&self, offset: u32, name: &str) -> bool {
        let Some(rest) = self.strings.get(offset as usize..) else { return false };
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let start = *self.starts.get(id.checked_sub(1)? as usize)?;
            let ty = self.read(start as usize)?;
            if !KINDS_TRANSPARENT.contains(&ty.kind) {
                return Some(ty);
            }
            id = ty.size_or_type;
        }
        None
    }

    fn structure(&self, name: &str) -> Option<Type> {
        self.starts
            .iter()
            .filter_map(|start| self.read(*start as usize))
            .find(|ty| ty.kind == KIND_STRUCT && ty.size_or_type != 0 && self.name_is(ty.name, name))
    }

    /// Offset in bytes of `member` and its type id; anonymous structs and unions are looked through.
    fn member(&self, ty: &Type, member: &str, depth: u32) -> Option<(u32, u32)> {
        for index in 0..ty.members as usize {
            let at = ty.body + index * 12;
            let (name, id, offset) =
                (u32_at(self.types, at)?, u32_at(self.types, at + 4)?, u32_at(self.types, at + 8)?);
            let bits = if ty.kind_flag { offset & 0x00ff_ffff } else { offset };
            if self.name_is(name, member) {
                return Some((bits / 8, id));
            }
            if name == 0 && depth < MAX_DEPTH {
                let inner = self.by_id(id)?;
                if (inner.kind == KIND_STRUCT || inner.kind == KIND_UNION)
                    && let Some((below, id)) = self.member(&inner, member, depth + 1)
                {
                    return Some((bits / 8 + below, id));
                }
            }
        }
        None
    }

    /// Offset in bytes of a path like `["thread", "fsbase"]` in `structure`.
    fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut ty = self.structure(structure)?;
        let mut total = 0;
        for (index, member) in path.iter().enumerate() {
            let (offset, id) = self.member(&ty, member, 0)?;
            total += offset;
            if index + 1 < path.len() {
                ty = self.by_id(id)?;
            }
        }
        Some(total)
    }
}

#[cfg(target_arch = "x86_64")]
const THREAD_POINTER: &[&str] = &["thread", "fsbase"];
#[cfg(target_arch = "aarch64")]
const THREAD_POINTER: &[&str] = &["thread", "uw", "tp_value"];

/// Where the registers of user mode are: at the end of the kernel's stack (`arch/*/include/asm/processor.h`,
/// `task_pt_regs`), which has 16 KiB or a page, whichever is more (`THREAD_SIZE`). The program that relies on it looks at
/// what it finds. Nowhere, if BTF does not tell.
fn user_regs(btf: &Btf<'_>) -> UserRegs {
    const THREAD_BYTES: u32 = 16 << 10;
    // SAFETY: no memory is involved.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let stack_bytes = u32::try_from(page_bytes).unwrap_or(0).max(THREAD_BYTES);
    let offset = btf.structure("pt_regs").and_then(|ty| stack_bytes.checked_sub(ty.size_or_type));
    match (btf.offset("task_struct", &["stack"]), offset) {
        (Some(task_stack), Some(offset)) => UserRegs { task_stack, offset },
        _ => UserRegs::default(),
    }
}

/// How many arguments a tracepoint has, its own first one not counted (`include/trace/bpf_probe.h`: `btf_trace_NAME` is a
/// pointer to such a function).
fn tracepoint_arguments(btf: &Btf<'_>, name: &str) -> Option<u32> {
    const KIND_POINTER: u32 = 2;
    const KIND_TYPEDEF: u32 = 8;
    const KIND_FUNCTION: u32 = 13;
    let mut types = btf.starts.iter().filter_map(|start| btf.read(*start as usize));
    let alias = types.find(|ty| ty.kind == KIND_TYPEDEF && btf.name_is(ty.name, name))?;
    let pointer = btf.by_id(alias.size_or_type).filter(|ty| ty.kind == KIND_POINTER)?;
    let function = btf.by_id(pointer.size_or_type).filter(|ty| ty.kind == KIND_FUNCTION)?;
    function.members.checked_sub(1)
}

/// What the program on `sched_switch` has to know.
pub fn switch_offsets(btf: &[u8]) -> Result<SwitchOffsets, BpfError> {
    let btf = Btf::parse(btf).ok_or(BpfError::Btf { what: "the file's format" })?;
    let arguments = tracepoint_arguments(&btf, "btf_trace_sched_switch");
    let state = btf.offset("task_struct", &["__state"]).or_else(|| btf.offset("task_struct", &["state"]));
    Ok(SwitchOffsets {
        state_is_argument: u32::from(arguments.is_some_and(|number| number >= 4)),
        task_state: state.ok_or(BpfError::Btf { what: "task_struct.state" })?,
        task_run_delay: btf.offset("task_struct", &["sched_info", "run_delay"]).unwrap_or(0),
        task_last_arrival: btf.offset("task_struct", &["sched_info", "last_arrival"]).unwrap_or(0),
    })
}

/// All kernel offsets that the programs need.
pub fn kernel_offsets(btf: &[u8]) -> Result<(KernelOffsets, UserRegs), BpfError> {
    let btf = Btf::parse(btf).ok_or(BpfError::Btf { what: "the file's format" })?;
    let task = |path: &[&'static str]| btf.offset("task_struct", path).ok_or(BpfError::Btf { what: path[0] });
    let offsets = KernelOffsets {
        task_pid: task(&["pid"])?,
        task_tgid: task(&["tgid"])?,
        task_group_leader: task(&["group_leader"])?,
        // Named real_start_time before 5.5, which is older than any kernel supported.
        task_start_boottime: task(&["start_boottime"])?,
        task_self_exec_id: task(&["self_exec_id"])?,
        task_signal: task(&["signal"])?,
        signal_live: btf
            .offset("signal_struct", &["live"])
            .ok_or(BpfError::Btf { what: "signal_struct.live" })?,
        task_mm: task(&["mm"])?,
        task_thread_pointer: task(THREAD_POINTER)?,
        reserved: 0,
    };
    Ok((offsets, user_regs(&btf)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_field() {
        let Ok(bytes) = std::fs::read(KERNEL_BTF) else {
            panic!("{KERNEL_BTF} is needed to run pyprof-bpf at all");
        };
        let (offsets, regs) = kernel_offsets(&bytes).expect("offsets");
        // pid and tgid are neighbours (include/linux/sched.h).
        assert_eq!(offsets.task_tgid, offsets.task_pid + 4);
        assert!(offsets.task_thread_pointer > offsets.task_mm);
        assert!(regs.task_stack != 0 && regs.task_stack % 8 == 0, "{regs:?}");
        assert!(regs.offset >= 12 << 10 && regs.offset % 8 == 0, "{regs:?}");
    }

    #[test]
    fn truncated_btf_is_refused() {
        let bytes = std::fs::read(KERNEL_BTF).expect("BTF");
        for length in [0, 1, 2, 24, 100, 4096, bytes.len() / 2] {
            assert!(kernel_offsets(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
