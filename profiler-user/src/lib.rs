//! The user side of pyprof-bpf, as a library so that tests reach every part of it.

pub mod bpf;
pub mod capture_json;
pub mod cli;
pub mod encode;
pub mod escape;
pub mod exit;
pub mod pipeline;
pub mod process;
pub mod profile;
pub mod record;
pub mod report;
pub mod sink;
pub mod utc;
