//! Processes as /proc and their memory show them. *Architecture invariant:* nothing outside this folder opens /proc.
//!
//! All of this but [`own`], [`host`], [`processes`] and [`children`] may wait for a target without end: only the reader's process calls it, see
//! [`crate::reader`].
//!
//! Everything read here was written by a target: it is bounded, capped and checked before use.

pub mod cache;
pub mod cgroup;
pub mod core;
pub mod core_python;
pub mod elf;
pub mod environ;
pub mod facts;
pub mod file;
mod gil;
pub mod host;
pub mod identity;
mod late;
mod legacy;
mod links;
pub mod maps;
pub mod memory;
pub mod name;
mod nameless;
pub mod open;
pub mod own;
pub mod parked;
pub mod python;
mod runners;
pub mod scan;
pub mod stacks;
pub mod standing;
mod symbols;
pub mod tasks;
mod version;

pub use cache::FactsCache;
pub use identity::{Identity, identity};
pub use late::may_bring_python;
pub use links::is_started;
pub use memory::ProcessMemory;
pub use name::{UNKNOWN, process_name};
pub use python::{Image, InspectError, Inspection, PythonImage, inspect};
pub use scan::{children, processes};
pub use standing::{Standing, standing};
