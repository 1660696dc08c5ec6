//! Encoders turn profiles into bytes. They know no files, no processes and no formats but their own.

mod collapsed;
mod firefox;
mod flamegraph;
mod format;
mod json;
mod pprof;
pub(crate) mod pprof_schema;
mod speedscope;
mod titles;

pub use format::{Choices, Format, encode};
pub use pprof::{pprof, pprof_to};
