//! What differs between CPUs: the registers of an interrupted thread.

#[cfg(bpf_target_arch = "x86_64")]
mod x86_64 {
    use aya_ebpf::bindings::pt_regs;

    #[inline(always)]
    pub fn instruction_pointer(regs: &pt_regs) -> u64 {
        regs.rip
    }

    /// Registers that the interpreter may hold a pointer in for a few instructions, while memory does not have it yet:
    /// the ones that compilers take for short-lived values.
    #[inline(always)]
    pub fn short_lived(regs: &pt_regs) -> [u64; 3] {
        [regs.rdx, regs.rax, regs.rcx]
    }

    /// Registers that survive calls: compilers keep the interpreter's running frame in one of them.
    #[inline(always)]
    pub fn long_lived(regs: &pt_regs) -> [u64; 2] {
        [regs.rbx, regs.rbp]
    }

    /// Whether the registers are those of user mode (`arch/x86/include/asm/ptrace.h`, `user_mode`).
    #[inline(always)]
    pub fn is_user(regs: &pt_regs) -> bool {
        is_user_mode(regs.cs)
    }

    #[inline(always)]
    pub fn is_user_mode(cs: u64) -> bool {
        cs & 3 == 3
    }

    /// Offset of the instruction pointer in `struct pt_regs`, bytes.
    pub const IP_OFFSET: u64 = core::mem::offset_of!(pt_regs, rip) as u64;
    /// Offset of what [`is_user_mode`] looks at.
    pub const MODE_OFFSET: u64 = core::mem::offset_of!(pt_regs, cs) as u64;
    pub const SP_OFFSET: u64 = core::mem::offset_of!(pt_regs, rsp) as u64;
    /// Of the number of the system call, negative outside one (`arch/x86/entry/entry_64.S`).
    pub const SYSCALL_OFFSET: u64 = core::mem::offset_of!(pt_regs, orig_rax) as u64;
    /// Of the system call's first argument.
    pub const ARGUMENT_OFFSET: u64 = core::mem::offset_of!(pt_regs, rdi) as u64;
    /// `__NR_futex`
    pub const FUTEX: i32 = 202;
    /// Of the registers that survive calls: r15, r14, r13, r12, rbp, rbx, one behind the other.
    pub const SAVED_REGISTERS_OFFSET: u64 = core::mem::offset_of!(pt_regs, r15) as u64;
    pub const SAVED_REGISTERS: usize = 6;
}

#[cfg(bpf_target_arch = "aarch64")]
mod aarch64 {
    use aya_ebpf::bindings::user_pt_regs;

    #[inline(always)]
    pub fn instruction_pointer(regs: &user_pt_regs) -> u64 {
        regs.pc
    }

    /// Registers that the interpreter may hold a pointer in for a few instructions, while memory does not have it yet.
    #[inline(always)]
    pub fn short_lived(regs: &user_pt_regs) -> [u64; 3] {
        [regs.regs[2], regs.regs[0], regs.regs[1]]
    }

    /// Registers that survive calls: compilers keep the interpreter's running frame in one of them.
    #[inline(always)]
    pub fn long_lived(regs: &user_pt_regs) -> [u64; 2] {
        [regs.regs[19], regs.regs[20]]
    }

    /// Whether the registers are those of user mode (`arch/arm64/include/asm/ptrace.h`: EL0t, mode bits 0).
    #[inline(always)]
    pub fn is_user(regs: &user_pt_regs) -> bool {
        is_user_mode(regs.pstate)
    }

    #[inline(always)]
    pub fn is_user_mode(pstate: u64) -> bool {
        pstate & 0xf == 0
    }

    /// Offset of the instruction pointer in `struct pt_regs`, which begins with `user_pt_regs`, bytes.
    pub const IP_OFFSET: u64 = core::mem::offset_of!(user_pt_regs, pc) as u64;
    /// Offset of what [`is_user_mode`] looks at.
    pub const MODE_OFFSET: u64 = core::mem::offset_of!(user_pt_regs, pstate) as u64;
    pub const SP_OFFSET: u64 = core::mem::offset_of!(user_pt_regs, sp) as u64;
    /// Of the number of the system call, negative outside one: `pt_regs.syscallno`, after `orig_x0`.
    pub const SYSCALL_OFFSET: u64 = size_of::<user_pt_regs>() as u64 + 8;
    /// Of the system call's first argument: `pt_regs.orig_x0`.
    pub const ARGUMENT_OFFSET: u64 = size_of::<user_pt_regs>() as u64;
    /// `__NR_futex`
    pub const FUTEX: i32 = 98;
    /// Of the registers that survive calls: x19 to x28.
    pub const SAVED_REGISTERS_OFFSET: u64 = core::mem::offset_of!(user_pt_regs, regs) as u64 + 19 * 8;
    pub const SAVED_REGISTERS: usize = 10;
}

#[cfg(bpf_target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(bpf_target_arch = "x86_64")]
pub use x86_64::*;
