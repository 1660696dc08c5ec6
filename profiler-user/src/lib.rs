//! The user side of pyprof-bpf, as a library so that tests reach every part of it.

pub mod amount;
pub mod bpf;
pub mod capture;
pub mod capture_json;
pub mod cli;
pub mod colour;
pub mod decode;
pub mod doctor;
pub mod dump;
pub mod encode;
pub mod escape;
pub mod exit;
pub mod pipeline;
pub mod process;
pub mod profile;
pub mod reader;
pub mod record;
pub mod report;
pub mod select;
pub mod sink;
pub mod summary;
pub mod syscalls;
pub mod talk;
pub mod top;
pub mod utc;
