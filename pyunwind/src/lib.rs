//! CPython's thread states, frames and code objects, read out of raw memory.
//!
//! The same code runs inside a BPF program, in host tests against live interpreters, and on snapshots. What the
//! kernel can reach (`addr`, `error`, `layout`, `memory`, `thread`, `nested`, `code`, `step`) never panics, allocates or
//! dispatches dynamically; everything else stands behind the `host` feature.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "host")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod code;
pub mod error;
pub mod layout;
pub mod memory;
pub mod nested;
pub mod step;
pub mod text;
pub mod thread;

#[cfg(feature = "host")]
pub mod host;

pub use addr::Addr;
pub use error::{Fault, Outcome};
pub use layout::Layout;
pub use memory::{FrameSink, Memory};
