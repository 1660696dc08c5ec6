//! An address in the target: never dereferenced here, never mixed up with a length or an offset.

use bytemuck::{Pod, Zeroable};

#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct Addr(pub u64);

impl Addr {
    pub const NULL: Addr = Addr(0);

    #[inline(always)]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Adds an offset in bytes; wraps, since a hostile target may hold any address.
    #[inline(always)]
    pub const fn offset(self, bytes: u64) -> Addr {
        Addr(self.0.wrapping_add(bytes))
    }

    /// Objects that hold pointers are at least 8-aligned on every 64-bit CPython.
    #[inline(always)]
    pub const fn is_aligned(self) -> bool {
        self.0 & 7 == 0
    }
}
