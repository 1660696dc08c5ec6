//! The project's own chores, in Rust: one enum, one match, one file per command.

mod bench;
mod bite;
mod cross;
mod dist;
mod interpreters;
mod matrix;
mod measure;
mod run;
mod setup;
mod test;
mod tidy;
mod util;

use std::process::ExitCode;

use clap::Parser;

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
    /// Fetch or build the interpreters that the machine lacks into a cache, and say how to run them.
    Interpreters(interpreters::Options),
    /// Check every interpreter that there is to have, under real BPF; `--write` puts the table into docs/support.md.
    Matrix(matrix::Options),
    /// Plant bugs one at a time and show the test that turns red for each.
    Bite(bite::Options),
    /// Measure what pyprof-bpf costs; `--write` puts it into docs/performance.md.
    Bench(bench::Options),
    /// Check the invariants of docs/architecture.md over the sources.
    Tidy,
    /// Check that everything compiles for aarch64, as far as a toolchain without its libraries goes.
    Cross,
    /// Make one static binary that runs on a host without a compiler or a network.
    Dist,
}

fn main() -> ExitCode {
    let done = match Xtask::parse() {
        Xtask::Setup => setup::command(),
        Xtask::Run(options) => run::command(options),
        Xtask::Test(options) => test::command(options),
        Xtask::Measure(options) => measure::command(options),
        Xtask::Interpreters(options) => interpreters::command(options),
        Xtask::Matrix(options) => matrix::command(options),
        Xtask::Bench(options) => bench::command(options),
        Xtask::Tidy => tidy::command(),
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
