//! C programs that contain or load a Python of a tree: the ways of linking that no package comes in.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::rows::{Finish, Host, Library};
use super::source::require;
use crate::util::{command, output};

const SOURCE: &str = include_str!("host.c");
/// What the static libraries of Debian's Pythons want.
const LIBRARIES: [&str; 6] = ["-lexpat", "-lz", "-ldl", "-lm", "-lpthread", "-lutil"];

/// Links `host` and puts it into `work/root`.
pub(super) fn link(host: &Host, work: &Path) -> Result<()> {
    require(&[("gcc", "gcc"), ("strip", "binutils")])?;
    let root = work.join("root");
    let source = work.join("host.c");
    fs::write(&source, SOURCE).context("failed to write the source of the host program")?;

    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let libraries = root.join("usr/lib").join(&triple);
    let minor = host.minor;
    let config = root.join(format!("usr/lib/python3.{minor}/config-3.{minor}-{triple}"));
    let program = root.join(host.program);

    let mut gcc = command("gcc");
    gcc.arg("-O2").args(host.flags).arg(&source).arg("-o").arg(&program);
    match host.library {
        Library::Shared => gcc.arg(libraries.join(format!("libpython3.{minor}.so.1.0"))),
        Library::Archive => gcc.arg(config.join(format!("libpython3.{minor}.a"))),
        Library::PicArchive => gcc.arg(config.join(format!("libpython3.{minor}-pic.a"))),
    };
    if host.library != Library::Shared {
        // The C library of the tree, its start files included: this machine's may be older than the archive.
        gcc.arg(format!("--sysroot={}", root.display()));
        gcc.arg(format!("-B{}/", libraries.display())).arg("-L").arg(&libraries);
        gcc.args(LIBRARIES);
    }
    output(&mut gcc).with_context(|| format!("failed to link {}", host.program))?;

    if !matches!(host.finish, Finish::Nothing) {
        output(command("strip").arg("-s").arg(&program))?;
    }
    if let Finish::SymbolsAndSectionHeaders = host.finish {
        let mut elf = fs::read(&program).with_context(|| format!("failed to read {}", program.display()))?;
        forget_sections(&mut elf)?;
        fs::write(&program, elf).with_context(|| format!("failed to write {}", program.display()))?;
    }
    Ok(())
}

/// Fields of `Elf64_Ehdr` (elf.h): where the section headers are, how many, and which has the names.
const E_SHOFF: std::ops::Range<usize> = 0x28..0x30;
const E_SHNUM_AND_SHSTRNDX: std::ops::Range<usize> = 0x3c..0x40;

/// What `llvm-objcopy --strip-sections` comes to for a reader: a program runs without them.
fn forget_sections(elf: &mut [u8]) -> Result<()> {
    if elf.len() < 0x40 || elf[..5] != *b"\x7fELF\x02" {
        bail!("not a 64-bit ELF file");
    }
    let headers = u64::from_le_bytes(elf[E_SHOFF].try_into()?);
    elf[E_SHOFF].fill(0);
    elf[E_SHNUM_AND_SHSTRNDX].fill(0);
    // They are at the end; what is before them stays.
    if let Some(headers) = usize::try_from(headers).ok().and_then(|at| elf.get_mut(at..)) {
        headers.fill(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_without_section_headers_still_runs() {
        let dir = std::env::temp_dir().join(format!("pyprof-nosections-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut elf = fs::read("/bin/true").unwrap();
        forget_sections(&mut elf).unwrap();
        assert!(elf[E_SHOFF].iter().chain(&elf[E_SHNUM_AND_SHSTRNDX]).all(|byte| *byte == 0));
        fs::write(dir.join("elf"), &elf).unwrap();
        // Another thread that forks would inherit a descriptor of ours, and the file would be busy.
        let install = Command::new("install").arg(dir.join("elf")).arg(dir.join("true")).status();
        assert!(install.unwrap().success());
        let status = Command::new(dir.join("true")).status();
        fs::remove_dir_all(&dir).unwrap();
        assert!(status.unwrap().success());
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        let check = |bytes: &[u8]| assert!(forget_sections(&mut bytes.to_vec()).is_err());
        check(b"");
        check(b"\x7fELF\x02");
        check(&[0; 0x40]);
    }
}
