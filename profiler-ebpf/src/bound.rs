//! Bounds that the verifier must see: LLVM drops a mask that it can prove redundant, and with it the proof.

macro_rules! mask {
    ($name:ident, $bits:literal) => {
        /// `value` with all but the low bits cleared, in a way the compiler cannot see through.
        #[inline(always)]
        pub fn $name(value: u64) -> u64 {
            let mut masked = value;
            // SAFETY: one arithmetic instruction on a register.
            unsafe {
                core::arch::asm!(concat!("{0} &= ", $bits), inout(reg) masked, options(pure, nomem, nostack));
            }
            masked
        }
    };
}

mask!(below_128, "127");
mask!(below_512, "511");
mask!(below_1024, "1023");
mask!(below_2048, "2047");
mask!(below_8192, "8191");
