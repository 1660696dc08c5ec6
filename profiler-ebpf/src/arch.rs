//! What differs between CPUs: the registers of an interrupted thread.

#[cfg(bpf_target_arch = "x86_64")]
mod x86_64 {
    use aya_ebpf::bindings::pt_regs;

    #[inline(always)]
    pub fn instruction_pointer(regs: &pt_regs) -> u64 {
        regs.rip
    }

    /// Whether the registers are those of user mode (`arch/x86/include/asm/ptrace.h`, `user_mode`).
    #[inline(always)]
    pub fn is_user(regs: &pt_regs) -> bool {
        regs.cs & 3 == 3
    }

    /// Offset of the instruction pointer in `struct pt_regs`, bytes.
    pub const IP_OFFSET: u64 = core::mem::offset_of!(pt_regs, rip) as u64;
    pub type Registers = pt_regs;
}

#[cfg(bpf_target_arch = "aarch64")]
mod aarch64 {
    use aya_ebpf::bindings::user_pt_regs;

    #[inline(always)]
    pub fn instruction_pointer(regs: &user_pt_regs) -> u64 {
        regs.pc
    }

    /// Whether the registers are those of user mode (`arch/arm64/include/asm/ptrace.h`: EL0t, mode bits 0).
    #[inline(always)]
    pub fn is_user(regs: &user_pt_regs) -> bool {
        regs.pstate & 0xf == 0
    }

    /// Offset of the instruction pointer in `struct pt_regs`, which begins with `user_pt_regs`, bytes.
    pub const IP_OFFSET: u64 = core::mem::offset_of!(user_pt_regs, pc) as u64;
    pub type Registers = user_pt_regs;
}

#[cfg(bpf_target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(bpf_target_arch = "x86_64")]
pub use x86_64::*;
