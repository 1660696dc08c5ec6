//! bpf-linker, built once per LLVM major into the user's cache.
//!
//! Not the one in ~/.cargo/bin: it may be of another version or of another LLVM, and then it fails on the
//! compiler's bitcode with words that nobody understands.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::apt;
use super::compiler::Compiler;
use crate::util::{cache_dir, command, output, run, which};

pub(super) const VERSION: &str = "0.13.0";
/// The `llvm-N` features of that version, in rising order.
pub(super) const LLVM_MAJORS: [u32; 3] = [21, 22, 23];

pub(super) fn find_or_build(compiler: &Compiler) -> Result<PathBuf> {
    let root = cache_dir()?.join(format!("bpf-linker-{VERSION}-llvm-{}", compiler.llvm));
    let linker = root.join("bin/bpf-linker");
    match runs(&linker) {
        Ok(()) => eprintln!("  bpf-linker {VERSION}: found in the cache"),
        Err(_) => {
            eprintln!("  bpf-linker {VERSION}: building against {}", compiler.llvm_prefix.display());
            // LLVM's libraries are linked by the system's C compiler.
            if which("cc").is_none() {
                apt::install(&["gcc", "libc6-dev"])?;
            }
            // By the BPF compiler itself, which is known to be there and recent; --force replaces a broken
            // one.
            let mut cargo = command("rustup");
            cargo.args(["run", &compiler.toolchain, "cargo", "install", "bpf-linker", "--quiet", "--force"]);
            cargo.args(["--version", VERSION, "--locked", "--no-default-features"]);
            cargo.args(["--features", &format!("llvm-{}", compiler.llvm)]).arg("--root").arg(&root);
            // Whatever profiles or flags this workspace is built with are not meant for the linker.
            for key in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
                cargo.env_remove(key);
            }
            // LLVM does the work, and is compiled as it is.
            cargo.env("LLVM_PREFIX", &compiler.llvm_prefix).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
            run(&mut cargo)
                .with_context(|| format!("failed to build bpf-linker against llvm-{}-dev", compiler.llvm))?;
            runs(&linker)?;
        }
    }
    Ok(linker)
}

/// It does run, and is what it claims: a library upgrade can leave a linker behind that does not start.
fn runs(linker: &PathBuf) -> Result<()> {
    let said = output(command(linker).arg("--version"))?;
    if !said.split_whitespace().any(|word| word == VERSION) {
        bail!("{} is {}, not {VERSION}", linker.display(), said.trim());
    }
    Ok(())
}
