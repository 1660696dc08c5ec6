//! Processes that want to stall, fill, mislead or crash the profiler. Beside each of them an honest Python works, whose
//! profile must be as whole as it is beside an honest process; the profiler's memory and time stay inside stated bounds.

mod beside;
mod files;
mod forged;
mod opened;
