//! Decoders turn the bytes of files into profiles. A file is as untrusted as a target: it may come from anywhere, and whoever
//! made it may want the reader's memory, time or terminal. Every size is capped, and what is wrong with a file is said.

mod inflate;
mod labels;
mod pprof;
mod pprof_samples;
mod pprof_tables;
mod wire;

pub use pprof::{Decoded, Facts, Left, pprof};

/// A file in memory, compressed or not. Profiles of whole hosts have some ten megabytes.
pub const MAX_BYTES: usize = 256 << 20;

/// Why a file is not read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("it is empty")]
    Empty,
    #[error("it is more than {} MB", MAX_BYTES >> 20)]
    TooLong,
    #[error("it unpacks to more than {} MB", MAX_BYTES >> 20)]
    Bomb,
    #[error("its gzip data is damaged or cut: {0}")]
    Gzip(String),
    #[error("it is no pprof file, but {0}")]
    Other(&'static str),
    #[error("it is no pprof file, or a damaged one: {0}")]
    Malformed(String),
    #[error("it has more than {most} {what}")]
    TooMany { what: &'static str, most: usize },
    #[error("it has no sample type {asked}; there are {known}")]
    NoSampleType { asked: String, known: String },
}

fn malformed(what: impl Into<String>) -> DecodeError {
    DecodeError::Malformed(what.into())
}
