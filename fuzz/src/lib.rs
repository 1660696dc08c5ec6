//! What the fuzz targets share: hostile memory, real processes as seeds, and a count of what is allocated.
//!
//! A target is a `check` of one input, which panics where the oracle is contradicted, and `seeds`: inputs that are right.
//! Seeds are made by the target itself (`PYPROF_FUZZ_SEEDS` names the folder), so that who reads a form of input writes it.

pub mod alloc;
pub mod elf;
pub mod file;
pub mod input;
pub mod memory;
pub mod mutate;
pub mod processes;
pub mod seeds;
pub mod snapshots;

/// The entry points of one target, as libFuzzer expects them.
#[macro_export]
macro_rules! target {
    ($seeds:path, $check:path) => {
        libfuzzer_sys::fuzz_target!(init: $crate::seeds::write_if_asked($seeds), |data: &[u8]| $check(data));
    };
    ($seeds:path, $check:path, $mutate:path) => {
        $crate::target!($seeds, $check);
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $mutate(data, size, max_size, seed)
        });
    };
}

/// The same for targets whose input is a process ([`processes::Process`]): half of the mutations change its pointers.
#[macro_export]
macro_rules! process_target {
    ($seeds:path, $check:path) => {
        $crate::target!($seeds, $check, $crate::mutate::process);
    };
}

/// The same for targets whose input is a file in pieces ([`file::Sparse`]).
#[macro_export]
macro_rules! file_target {
    ($seeds:path, $check:path) => {
        $crate::target!($seeds, $check, $crate::mutate::file);
    };
}
