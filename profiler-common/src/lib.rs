//! The wire between the BPF programs and user space, declared once: `repr(C)`, no padding, no enums, sizes asserted.
#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod event;
pub mod limits;
pub mod off_cpu;
pub mod process;
pub mod stats;
pub mod tick;

pub use config::KernelOffsets;
pub use event::{CodeEvent, EventHeader, Frame, LinesEvent, ProcessEvent, SampleEvent, Text, ThreadEvent};
pub use off_cpu::OffCpuThread;
pub use process::{ProcessKey, ProcessRecord, ThreadKey};
pub use stats::Stat;
