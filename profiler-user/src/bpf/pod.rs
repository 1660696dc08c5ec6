//! aya wants its own marker for plain data; the wire types carry bytemuck's.

use bytemuck::Pod;

#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Plain<T>(pub T);

// SAFETY: `T: bytemuck::Pod` says that any bytes are valid and that there is no padding, which is all aya asks.
unsafe impl<T: Pod> aya::Pod for Plain<T> {}
