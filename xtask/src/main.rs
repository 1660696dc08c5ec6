//! The project's own chores, in Rust: one enum, one match, one file per command.

mod bench;
mod bite;
mod cross;
mod dist;
mod fuzz;
mod host;
mod hosts;
mod incident;
mod interpreters;
mod matrix;
mod measure;
mod run;
mod setup;
mod soak;
mod support;
mod test;
mod tidy;
mod util;
mod vm;

use std::process::ExitCode;

use clap::Parser;
use pyprof_host::mark::{MARK, of_new_run};

/// What a contributor and the CI both type; a chore that is only a shell line somewhere gets forgotten.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Xtask {
    /// Find or install the BPF toolchain (a compiler with rust-src, its LLVM, bpf-linker).
    Setup,
    /// Build pyprof-bpf and run it, through sudo where that is needed.
    Run(run::Options),
    /// Run the tests that decide: exact claims, without root and under real BPF.
    Test(test::Options),
    /// Run what measures (times, shares, memory), and say what is out of bounds.
    Measure(measure::Options),
    /// Say what of the host is not as the tests need it, and what earlier runs of theirs have left; `--restore` puts it right.
    Host(host::Options),
    /// Fetch or build the interpreters that the machine lacks into a cache, and say how to run them.
    Interpreters(interpreters::Options),
    /// Check every interpreter that there is to have, under real BPF; `--write` puts the table into docs/support.md.
    Matrix(matrix::Options),
    /// Check every program that runs Python inside (servers, packers, containers), under real BPF; `--write` puts the table
    /// into docs/support.md.
    Hosts(hosts::Options),
    /// Plant bugs one at a time and show the test that turns red for each.
    Bite(bite::Options),
    /// Fuzz everything that reads a target; `--bite` shows that each fuzzer finds a bound that is missing.
    Fuzz(fuzz::Options),
    /// Measure what pyprof-bpf costs; `--write` puts it into docs/performance.md.
    Bench(bench::Options),
    /// Walk through docs/incident.md against a real slow server, down to its slow line; `--write` puts what was printed into it.
    Incident(incident::Options),
    /// Let processes, threads and code objects come and go under capture, and see whether anything grows.
    Soak(soak::Options),
    /// Boot kernels under qemu and check the programs there; `--write` puts the tables into docs/kernels.md.
    Vm(vm::Options),
    /// What `vm` runs as the first process inside.
    #[command(hide = true)]
    VmGuest,
    /// Check the invariants of docs/architecture.md over the sources.
    Tidy,
    /// Check that everything compiles for aarch64, as far as a toolchain without its libraries goes.
    Cross,
    /// Make one static binary that runs on a host without a compiler or a network, its manual pages and its completions.
    Dist,
}

fn main() -> ExitCode {
    let chore = Xtask::parse();
    // The first process of a machine has no /proc yet, and nobody runs after it there.
    if !matches!(chore, Xtask::VmGuest) {
        mark();
    }
    let done = match chore {
        Xtask::Setup => setup::command(),
        Xtask::Run(options) => run::command(options),
        Xtask::Test(options) => test::command(options),
        Xtask::Measure(options) => measure::command(options),
        Xtask::Host(options) => host::command(options),
        Xtask::Interpreters(options) => interpreters::command(options),
        Xtask::Matrix(options) => matrix::command(options),
        Xtask::Hosts(options) => hosts::command(options),
        Xtask::Bench(options) => bench::command(options),
        Xtask::Incident(options) => incident::command(options),
        Xtask::Soak(options) => soak::command(options),
        Xtask::Vm(options) => vm::command(options),
        Xtask::VmGuest => vm::guest(),
        Xtask::Tidy => tidy::command(),
        Xtask::Fuzz(options) => fuzz::command(options),
        Xtask::Bite(options) => bite::command(options),
        Xtask::Cross => cross::command(),
        Xtask::Dist => dist::command(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All that is started from here on is of this run: should it be killed, the next one knows its own (`pyprof_host::mark`).
fn mark() {
    if let Some(mark) = of_new_run() {
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var(MARK, mark) };
    }
}
