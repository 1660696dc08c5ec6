//! An interpreter of another suite as a program of this machine: with its own loader and libraries named inside it, so that
//! tests start it like any other, from anywhere, without root.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Interpreter;
use crate::setup::apt_install;
use crate::util::{command, output, run, which};

/// Below the root of the tree; from there CPython finds its standard library in `usr/lib`.
const DIRECTORY: &str = "usr/local/bin";

/// The program, made on first use.
pub(crate) fn native(interpreter: &Interpreter) -> Result<PathBuf> {
    match &interpreter.root {
        Some(root) => set_in_place(&interpreter.executable, root, std::env::consts::ARCH),
        None => Ok(interpreter.executable.clone()),
    }
}

/// The copy of a program of the tree at `root` that finds the tree's libraries by itself.
pub(crate) fn set_in_place(executable: &Path, root: &Path, arch: &str) -> Result<PathBuf> {
    let name = executable.file_name().context("an interpreter without a name")?;
    let directory = root.join(DIRECTORY);
    let program = directory.join(name);
    if program.exists() {
        return Ok(program);
    }
    if which("patchelf").is_none() {
        apt_install(&["patchelf"])?;
    }
    fs::create_dir_all(&directory)?;
    // Renamed when it is whole: another test may look at the same moment.
    let scratch = directory.join(format!(".{}.{}", name.display(), std::process::id()));
    fs::copy(executable, &scratch)?;
    let loader = output(command("patchelf").arg("--print-interpreter").arg(&scratch))?;
    let loader = root.join(loader.trim().trim_start_matches('/'));
    // The packages of older suites bring a `/lib` of their own.
    let directories = ["usr/lib", "lib"].map(|directory| root.join(directory));
    let libraries: Vec<String> = directories
        .iter()
        .filter(|directory| !directory.is_symlink())
        .map(|directory| format!("{}/{arch}-linux-gnu", directory.display()))
        .collect();
    // Forced, so that the libraries of extension modules are found in the same place.
    run(command("patchelf")
        .arg("--set-interpreter")
        .arg(loader)
        .args(["--force-rpath", "--set-rpath"])
        .arg(libraries.join(":"))
        .arg(&scratch))?;
    fs::rename(&scratch, &program)?;
    Ok(program)
}
