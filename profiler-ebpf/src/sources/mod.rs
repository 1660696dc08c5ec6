//! What makes a tick: one file per source.

mod cpu;
mod off_cpu;

pub use off_cpu::renumbered;
