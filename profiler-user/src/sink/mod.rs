//! Sinks move bytes to where they stay. They know neither profiles nor formats.

mod directory;
mod names;

pub use directory::{OutputDirectory, Owner, SinkError};
pub use names::{GroupNames, ImageNumbers, default_directory, file_name, sanitise};
