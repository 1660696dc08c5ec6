//! Sinks move bytes to where they stay. They know neither profiles nor formats.

mod directory;
mod file;
mod names;
mod place;
mod unfinished;

pub use directory::OutputDirectory;
pub use file::{OutputFile, is_stdout, write_to_stdout};
pub use names::{GroupNames, ImageNumbers, default_directory, file_stem, of_kind, sanitise};
pub use place::{Owner, SinkError};
pub use unfinished::remove_unfinished;
