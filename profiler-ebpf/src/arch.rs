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
        regs.cs & 3 == 3
    }

    /// Offset of the instruction pointer in `struct pt_regs`, bytes.
    pub const IP_OFFSET: u64 = core::mem::offset_of!(pt_regs, rip) as u64;
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
        regs.pstate & 0xf == 0
    }

    /// Offset of the instruction pointer in `struct pt_regs`, which begins with `user_pt_regs`, bytes.
    pub const IP_OFFSET: u64 = core::mem::offset_of!(user_pt_regs, pc) as u64;
}

#[cfg(bpf_target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(bpf_target_arch = "x86_64")]
pub use x86_64::*;
