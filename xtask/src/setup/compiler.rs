//! Finding a Rust compiler that can build `core` for the BPF target, and the LLVM it speaks.
//!
//! `-Z build-std=core` needs the library's source (rust-src); bpf-linker has to read the compiler's bitcode,
//! so it must be built against the same LLVM major. Either is missing more often than one would think: a
//! rustup nightly comes without rust-src, and its LLVM may be newer than any packaged one.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::{apt, linker};
use crate::util::{command, home, output, run, which};

/// The name under which Debian's compiler is known to rustup, which is how aya-build calls compilers.
const DEBIAN_TOOLCHAIN: &str = "pyprof-bpf-debian";
const DEBIAN_PREFIX: &str = "/usr";
/// Debian's backport of a recent compiler (made for browsers), then the suite's own for suites where that is
/// recent.
const DEBIAN_PACKAGES: [[&str; 3]; 2] =
    [["rustc-web", "cargo-web", "rust-web-src"], ["rustc", "cargo", "rust-src"]];

#[derive(Debug)]
pub(super) struct Compiler {
    /// As in `rustup run NAME`.
    pub(super) toolchain: String,
    pub(super) release: String,
    pub(super) llvm: u32,
    /// Where the libraries of that LLVM are, in `lib`.
    pub(super) llvm_prefix: PathBuf,
    sysroot: PathBuf,
}

/// What `rustc -vV` says.
#[derive(Debug, PartialEq)]
struct Version {
    release: String,
    llvm: u32,
}

impl Compiler {
    pub(super) fn is_nightly(&self) -> bool {
        self.release.contains("nightly") || self.release.contains("dev")
    }

    pub(super) fn core_source(&self) -> PathBuf {
        core_source(&self.sysroot)
    }

    pub(super) fn dir_in_rustup(&self) -> Result<PathBuf> {
        let base = match env::var_os("RUSTUP_HOME") {
            Some(dir) => PathBuf::from(dir),
            None => home()?.join(".rustup"),
        };
        Ok(base.join("toolchains").join(&self.toolchain))
    }

    pub(super) fn find_or_install() -> Result<Self> {
        if which("rustup").is_none() {
            bail!("rustup is not on PATH: install it from https://rustup.rs, or `. ~/.cargo/env`");
        }
        let mut toolchains = rustup_toolchains()?;
        toolchains.retain(|name| name != DEBIAN_TOOLCHAIN);
        // Stable sort: nightlies first, otherwise rustup's order, which has the default first.
        toolchains.sort_by_key(|name| !name.starts_with("nightly"));
        for name in toolchains {
            match Self::from_rustup(&name) {
                Ok(compiler) => return Ok(compiler),
                Err(why) => eprintln!("  rustup toolchain {name}: {why:#}"),
            }
        }
        Self::from_debian().context(
            "no usable BPF compiler; either `rustup toolchain install nightly --component rust-src` \
             or Debian's packages rustc-web, cargo-web, rust-web-src must be installable",
        )
    }

    fn from_rustup(name: &str) -> Result<Self> {
        let rustc = || {
            let mut rustup = command("rustup");
            rustup.args(["run", name, "rustc"]);
            rustup
        };
        let sysroot = PathBuf::from(output(rustc().args(["--print", "sysroot"]))?.trim());
        if !core_source(&sysroot).exists() {
            bail!("no rust-src");
        }
        let compiler = Self::with_llvm(name, &output(rustc().arg("-vV"))?, sysroot)?;
        eprintln!("  rustup toolchain {name}: rustc {} (LLVM {})", compiler.release, compiler.llvm);
        Ok(compiler)
    }

    fn from_debian() -> Result<Self> {
        let compiler = match Self::debian_as_it_is() {
            Ok(compiler) => compiler,
            Err(why) => {
                // Too old counts like missing: the same packages may have been superseded.
                eprintln!("  Debian's compiler: {why:#}");
                apt::refresh();
                let offered =
                    DEBIAN_PACKAGES.iter().find(|packages| packages.iter().all(|name| apt::is_offered(name)));
                let packages =
                    offered.ok_or_else(|| anyhow!("apt offers no rustc-web, cargo-web, rust-web-src"))?;
                apt::install_newest(packages)?;
                Self::debian_as_it_is()?
            }
        };
        eprintln!("  Debian's compiler: rustc {} (LLVM {})", compiler.release, compiler.llvm);
        // Linking again is harmless, and mends a link that points elsewhere.
        run(command("rustup").args(["toolchain", "link", DEBIAN_TOOLCHAIN, DEBIAN_PREFIX]))?;
        Ok(compiler)
    }

    fn debian_as_it_is() -> Result<Self> {
        let prefix = Path::new(DEBIAN_PREFIX);
        for needed in [prefix.join("bin/rustc"), prefix.join("bin/cargo"), core_source(prefix)] {
            if !needed.exists() {
                bail!("no {}", needed.display());
            }
        }
        let version = output(command(prefix.join("bin/rustc")).arg("-vV"))?;
        Self::with_llvm(DEBIAN_TOOLCHAIN, &version, prefix.into())
    }

    /// Adds the LLVM of the compiler, installed if apt has it.
    fn with_llvm(toolchain: &str, verbose_version: &str, sysroot: PathBuf) -> Result<Self> {
        let Version { release, llvm } = parse_version(verbose_version)
            .ok_or_else(|| anyhow!("failed to read release and LLVM version from rustc -vV"))?;
        if !linker::LLVM_MAJORS.contains(&llvm) {
            let [first, .., last] = linker::LLVM_MAJORS;
            bail!("rustc {release} has LLVM {llvm}; bpf-linker {} takes {first} to {last}", linker::VERSION);
        }
        let llvm_prefix = match find_llvm(llvm) {
            Some(prefix) => prefix,
            None => {
                apt::install(&[&format!("llvm-{llvm}-dev")])?;
                find_llvm(llvm)
                    .ok_or_else(|| anyhow!("no libLLVM.so of LLVM {llvm} after its installation"))?
            }
        };
        Ok(Self { toolchain: toolchain.to_owned(), release, llvm, llvm_prefix, sysroot })
    }
}

fn core_source(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs")
}

/// Names only: `stable-x86_64-unknown-linux-gnu (active, default)` is one of the lines.
fn rustup_toolchains() -> Result<Vec<String>> {
    let list = output(command("rustup").args(["toolchain", "list"]))?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| *name != "no").map(str::to_owned).collect())
}

fn parse_version(verbose: &str) -> Option<Version> {
    let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let release = field("release:")?.to_owned();
    let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some(Version { release, llvm })
}

/// Debian's place first, then a `llvm-config` of that major on PATH, whose own answer counts.
fn find_llvm(major: u32) -> Option<PathBuf> {
    let on_path = [format!("llvm-config-{major}"), "llvm-config".to_owned()].into_iter().filter_map(|name| {
        let config = which(&name)?;
        let ask = |what| output(command(&config).arg(what)).ok();
        let found: u32 = ask("--version")?.split('.').next()?.parse().ok()?;
        (found == major).then(|| ask("--prefix")).flatten().map(|prefix| PathBuf::from(prefix.trim()))
    });
    [PathBuf::from(format!("/usr/lib/llvm-{major}"))]
        .into_iter()
        .chain(on_path)
        .find(|prefix| can_link(prefix))
}

/// Whether there is a library to link: Debian's llvm-N has llvm-config, but only llvm-N-dev has this.
fn can_link(llvm_prefix: &Path) -> bool {
    ["lib/libLLVM.so", "lib64/libLLVM.so"].iter().any(|library| llvm_prefix.join(library).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_own_words_give_release_and_llvm_major() {
        let check = |text: &str, expected: Option<(&str, u32)>| {
            let expected = expected.map(|(release, llvm)| Version { release: release.into(), llvm });
            assert_eq!(parse_version(text), expected, "{text}");
        };
        let debian = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
                      release: 1.96.0\nLLVM version: 22.1.8\n";
        check(debian, Some(("1.96.0", 22)));
        check("release: 1.97.0-nightly\nLLVM version: 23.0\n", Some(("1.97.0-nightly", 23)));
        check("release: 1.97.0-nightly\n", None);
        check("", None);
    }
}
