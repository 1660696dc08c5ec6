//! From records to profiles: which process image a record belongs to, what its frames are called, where it is counted.
//!
//! One owner, no locks: the loop of `record` feeds it. It reads neither memory nor files of a target; what it must know of a
//! process it asks [`crate::reader`], and goes on without an answer if none comes in time.

mod codes;
mod cut;
mod ends;
mod follow;
mod harvest;
mod hints;
mod image;
mod ingest;
mod late;
mod off_cpu;
mod select;
mod thread_names;

pub use follow::{Follower, Unsupported};
pub use image::{Image, State, Sums};
pub use ingest::{Ingest, Received};
pub use late::any_key;
pub use select::NearMiss;
