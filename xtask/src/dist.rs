//! `cargo xtask dist`: one static binary for hosts that have neither a compiler nor a network, and what a package of it
//! would install beside it: manual pages and shell completions, as that very binary makes them.
//!
//! The C library is glibc, linked in: unlike musl it needs no second standard library from rustup. The
//! product looks up no host names; `--uid NAME` asks glibc's name service, which finds `/etc/passwd` without loading anything.

use std::ffi::CStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::setup::setup;
use crate::util::{self, Workspace, output, run};

const BINARY: &str = "pyprof-bpf";

pub(crate) fn command() -> Result<()> {
    let workspace = Workspace::find()?;
    setup(&workspace)?;
    let arch = std::env::consts::ARCH;

    // The crates are those that the tests ran; for the binary alone, the link differs. Options after `--` reach no other
    // crate: proc macros cannot be linked statically, and the BTF of the BPF object must stay.
    let mut cargo = workspace.cargo();
    cargo.args(["rustc", "--release", "--package", "profiler-user", "--bin", BINARY, "--"]);
    cargo.args(["-C", "target-feature=+crt-static", "-C", "strip=debuginfo"]);
    run(&mut cargo)?;

    let built = workspace.target_dir.join("release").join(BINARY);
    let image = fs::read(&built).with_context(|| format!("failed to read {}", built.display()))?;
    if let Some(interpreter) = elf_interpreter(&image)? {
        bail!("{} is not static: it asks for {interpreter}", built.display());
    }
    let version = output(util::command(&built).arg("--version")).context("the static binary does not run")?;

    let dist = workspace.root.join("dist");
    let name = format!("{BINARY}-{}-{arch}-linux", workspace.version);
    fs::create_dir_all(&dist).with_context(|| format!("failed to create {}", dist.display()))?;
    let file = dist.join(&name);
    fs::copy(&built, &file).with_context(|| format!("failed to copy to {}", file.display()))?;
    write_checksum(&dist, &name)?;
    let beside = write_beside(&dist, &built)?;

    println!("{} ({:.1} MB)", file.display(), image.len() as f64 / 1e6);
    println!("{}: {}", dist.display(), beside.join(", "));
    println!("{}: static, no interpreter, C library: glibc {}", version.trim(), glibc_version());
    Ok(())
}

/// The name that each shell looks for.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "pyprof-bpf.bash"), ("zsh", "_pyprof-bpf"), ("fish", "pyprof-bpf.fish")];

/// Pages and completions below `dist`; their names.
fn write_beside(dist: &Path, binary: &Path) -> Result<Vec<String>> {
    let make = |name: &str| {
        let dir = dist.join(name);
        // Pages of commands that are gone must not stay.
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("failed to clear {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        anyhow::Ok(dir)
    };
    let man = make("man")?;
    run(util::command(binary).args(["generate", "man"]).arg(&man))?;
    let completions = make("completions")?;
    for (shell, name) in COMPLETIONS {
        let script = output(util::command(binary).args(["generate", "completions", shell]))?;
        let file = completions.join(name);
        fs::write(&file, script).with_context(|| format!("failed to write {}", file.display()))?;
    }
    let mut names = Vec::new();
    for dir in [&man, &completions] {
        for entry in fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))? {
            let path = entry?.path();
            names.push(path.strip_prefix(dist).unwrap_or(&path).display().to_string());
        }
    }
    names.sort();
    Ok(names)
}

/// In the format of `sha256sum --check`, with the bare name, so that it can be checked wherever both are
/// copied.
fn write_checksum(dir: &Path, name: &str) -> Result<()> {
    let line = output(util::command("sha256sum").arg(name).current_dir(dir))?;
    let file = dir.join(format!("{name}.sha256"));
    fs::write(&file, line).with_context(|| format!("failed to write {}", file.display()))
}

/// Of this process, which the same linker made from the same package as the static archive.
fn glibc_version() -> String {
    // SAFETY: glibc returns a pointer to a constant, NUL-terminated string.
    unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy().into_owned()
}

/// The PT_INTERP of a 64-bit little-endian ELF file: none means that the kernel alone can start it (elf(5)).
fn elf_interpreter(image: &[u8]) -> Result<Option<String>> {
    const PT_INTERP: u64 = 3;
    if !image.starts_with(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = image.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let find = || -> Option<Option<String>> {
        let (table, entry_bytes, entries) =
            (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)?);
        for index in 0..entries as usize {
            let header = table.checked_add(index * entry_bytes)?;
            if number(header, 4)? == PT_INTERP {
                let (start, size) = (number(header + 8, 8)? as usize, number(header + 32, 8)? as usize);
                let path = image.get(start..start.checked_add(size)?)?;
                return Some(Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned()));
            }
        }
        Some(None)
    };
    find().context("the program headers lie outside the file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        // The test binary itself is dynamic; the same image with its PT_INTERP made PT_NULL is not.
        let mut image = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(elf_interpreter(&image).unwrap().unwrap().contains("ld-linux"));
        let table = u64::from_le_bytes(image[32..40].try_into().unwrap()) as usize;
        for index in 0..usize::from(image[56]) {
            let kind = table + index * usize::from(image[54]);
            if image[kind..kind + 4] == [3, 0, 0, 0] {
                image[kind..kind + 4].fill(0);
            }
        }
        assert_eq!(elf_interpreter(&image).unwrap(), None);
        assert!(elf_interpreter(&image[..80]).is_err());
        assert!(elf_interpreter(b"#!/bin/sh").is_err());
    }
}
