//! All that touches BPF: loading, attaching, tables, rings, counters. Nothing outside this folder names aya.

mod btf;
mod clock;
mod cost;
mod event;
mod features;
mod load;
mod mappings;
mod off_cpu;
mod pod;
mod rings;
mod stats;
mod tables;
mod trial;

pub use btf::KERNEL_BTF;
pub use clock::{Clock, CpuTicks};
pub use cost::{HostTicks, RunTime, RunTimeEnabled, ThreadTicks, enable_run_time};
pub use load::{Bpf, LoadOptions};
pub use mappings::{MappedCode, Mappings, each_mapping};
pub use rings::{Record, Rings, parse, parse_lifecycle};
pub use stats::{Counters, Stats};
pub use tables::Tables;
pub use trial::{Loaded, Ran, Step, Trial, check_types};

use std::path::PathBuf;

use crate::escape::escape_bytes;

#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    #[error("failed to read the kernel's BTF at {}: {source}", escape_bytes(path.as_os_str().as_encoded_bytes()))]
    NoBtf { path: PathBuf, source: std::io::Error },
    #[error("failed to find {what} in the kernel's BTF")]
    Btf { what: &'static str },
    #[error("this kernel has no {what} (Linux {since})")]
    Lacks { what: &'static str, since: &'static str },
    #[error("failed to load the BPF programs: {0}")]
    Load(#[from] aya::EbpfError),
    #[error("failed to load or attach the BPF program {name}: {source}")]
    Program { name: &'static str, source: aya::programs::ProgramError },
    #[error("failed to use the BPF map {name}: {source}")]
    Map { name: &'static str, source: aya::maps::MapError },
    #[error("the BPF object lacks {name}")]
    Missing { name: &'static str },
    #[error("failed to list the online CPUs: {0}")]
    Cpus(std::io::Error),
    #[error("this build carries no BPF object; build with the BPF toolchain (cargo xtask setup)")]
    NoObject,
    #[error("failed to add a layout: all {0} places are taken")]
    LayoutsFull(u32),
    #[error("failed to read the programs' messages: {0}")]
    Log(#[from] aya_log::Error),
    #[error("failed to set up a measurement of BPF programs: {0}")]
    Stats(std::io::Error),
    #[error("failed to watch for executable mappings: {0}")]
    Mappings(std::io::Error),
    #[error("failed to wait on a ring: {0}")]
    Ring(std::io::Error),
}

impl BpfError {
    /// Whether the kernel said no (EPERM, EACCES), rather than that something is wrong.
    pub fn is_refusal(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES))
    }

    /// What the kernel answered, where it did.
    pub fn errno(&self) -> Option<i32> {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return io.raw_os_error();
            }
            source = error.source();
        }
        None
    }
}
