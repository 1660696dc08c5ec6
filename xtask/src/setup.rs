//! `cargo xtask setup`: leaves the machine able to build the BPF object, and says what it found, did or
//! misses.
//!
//! The result is a small record, `bpf-toolchain.json`, in the workspace's target directory (for
//! profiler-user's build script) and in the cache (so that a clean checkout is ready at once). As long as the
//! files it names are the ones that were recorded, there is nothing to do.

mod apt;
mod compiler;
mod linker;
mod readers;
mod record;

use anyhow::Result;

use crate::util::{Workspace, cache_dir};
pub(crate) use apt::{install as apt_install, refresh as apt_refresh, version as apt_version};
use compiler::Compiler;
pub(crate) use readers::{Readers, readers};
pub(crate) use record::BpfToolchain;

const RECORD: &str = "bpf-toolchain.json";

pub(crate) fn command() -> Result<()> {
    setup(&Workspace::find()?).map(drop)
}

/// The step that `run`, `test` and `dist` share.
pub(crate) fn setup(workspace: &Workspace) -> Result<BpfToolchain> {
    let in_target = workspace.target_dir.join(RECORD);
    let in_cache = cache_dir()?.join(RECORD);

    let known = [&in_target, &in_cache].into_iter().find_map(|file| BpfToolchain::load(file));
    let toolchain = match known {
        Some(toolchain) => toolchain,
        None => {
            eprintln!(
                "BPF toolchain: none on record, or changed since; looking for a compiler with rust-src"
            );
            let compiler = Compiler::find_or_install()?;
            let linker = linker::find_or_build(&compiler)?;
            BpfToolchain::new(&compiler, linker)?
        }
    };
    // Both are written even when one was read: the other may be missing, or of an older compiler.
    toolchain.save(&in_target)?;
    toolchain.save(&in_cache)?;
    eprintln!("BPF toolchain: {toolchain}: ready");
    Ok(toolchain)
}
