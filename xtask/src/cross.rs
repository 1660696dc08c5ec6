//! `cargo xtask cross`: does it still compile for aarch64? Nothing is run, and nothing is linked but the BPF object.
//!
//! rustup's toolchain lacks the other target's standard library; the BPF toolchain carries the library's sources, so
//! it checks the user side against those.

use anyhow::Result;

use crate::setup::{BpfToolchain, setup};
use crate::util::{self, Workspace, run};

const USER_TARGET: &str = "aarch64-unknown-linux-gnu";
const BPF_TARGET: &str = "bpfel-unknown-none";

pub(crate) fn command() -> Result<()> {
    let workspace = Workspace::find()?;
    let toolchain = setup(&workspace)?;
    let target_dir = workspace.target_dir.join("cross");

    let mut user = cargo(&workspace, &toolchain);
    user.args(["check", "--package", "profiler-user", "--target", USER_TARGET])
        .args(["-Z", "build-std=std,panic_abort", "--target-dir"])
        .arg(&target_dir)
        .env("AYA_BUILD_SKIP", "1");
    run(&mut user)?;

    let mut bpf = cargo(&workspace, &toolchain);
    bpf.args(["build", "--release", "--package", "profiler-ebpf", "--target", BPF_TARGET])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "--cfg=bpf_target_arch=\"aarch64\"\u{1f}-Cdebuginfo=2\u{1f}-Clink-arg=--btf",
        );
    run(&mut bpf)?;
    println!("aarch64: the user side checks, the BPF object builds; neither was run");
    Ok(())
}

/// The BPF toolchain's own cargo, on this workspace.
fn cargo(workspace: &Workspace, toolchain: &BpfToolchain) -> std::process::Command {
    let mut cargo = util::command("rustup");
    cargo.args(["run", &toolchain.toolchain, "cargo"]).current_dir(&workspace.root);
    for key in ["RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        cargo.env_remove(key);
    }
    if toolchain.rustc_bootstrap {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo
}
