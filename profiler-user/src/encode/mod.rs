//! Encoders turn a profile into bytes. They know no files, no processes and no formats but their own.

mod pprof;
mod pprof_schema;

pub use pprof::{pprof, pprof_to};
