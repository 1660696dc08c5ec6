//! From records to profiles: which process image a record belongs to, what its frames are called, where it is counted.
//!
//! One owner, no locks: the loop of `record` feeds it. It never waits and never reads a file of a target; what it must
//! ask of a process (a code object that the kernel could not read) goes through `process::ProcessMemory`.

mod codes;
mod follow;
mod hints;
mod image;
mod ingest;
mod late;
mod thread_names;

pub use follow::{Follower, Unsupported};
pub use image::{Image, State};
pub use ingest::{Ingest, Received};
