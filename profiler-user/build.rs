//! Builds the BPF program with the toolchain that `cargo xtask setup` recorded, for `bpf/` to embed.
//!
//! A plain `cargo build` works after one setup: the record is looked for in this build's target directory and
//! then in the user's cache, where setup leaves a copy.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya_build::{Package, Toolchain, build_ebpf};

const RECORD: &str = "bpf-toolchain.json";
const OVERRIDE: &str = "PYPROF_BPF_TOOLCHAIN";
const SKIP: &str = "AYA_BUILD_SKIP";

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={OVERRIDE}");
    println!("cargo:rerun-if-env-changed={SKIP}");
    // aya-build watches profiler-ebpf alone; what is compiled into it lives next to it.
    for source in ["../profiler-common/src", "../pyunwind/src", "../Cargo.toml", "../Cargo.lock"] {
        println!("cargo:rerun-if-changed={source}");
    }

    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    if env::var(SKIP).is_ok_and(|value| value == "1" || value.eq_ignore_ascii_case("true")) {
        // Checks and lints of the user side need a file to embed, not a program to load.
        return fs::write(out_dir.join("profiler"), []).context("failed to write an empty BPF object");
    }

    let file = find_record(&out_dir)?;
    println!("cargo:rerun-if-changed={}", file.display());
    let record = Record::read(&file)?;
    if !record.linker.exists() {
        bail!("{} is gone: run `cargo xtask setup`", record.linker.display());
    }

    // SAFETY: a build script's main is the only thread of its process, so nothing reads the environment
    // meanwhile.
    unsafe {
        env::set_var("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &record.linker);
        if record.rustc_bootstrap {
            env::set_var("RUSTC_BOOTSTRAP", "1");
        }
        // The nested cargo is another compiler's: a wrapper or flags of the outer build are not for it.
        // Its progress would come out as warnings of ours; its real warnings and errors still do.
        env::set_var("CARGO_TERM_QUIET", "true");
        for key in ["RUSTC_WRAPPER", "RUSTDOC", "RUSTFLAGS", "CARGO_BUILD_TARGET", "LD_LIBRARY_PATH"] {
            env::remove_var(key);
        }
    }
    let package = Package { name: "profiler-ebpf", root_dir: "../profiler-ebpf", ..Package::default() };
    build_ebpf([package], Toolchain::Custom(&record.toolchain)).with_context(|| {
        format!("failed to build the BPF program with toolchain {} (see above)", record.toolchain)
    })
}

/// What this script needs of xtask's record.
struct Record {
    toolchain: String,
    linker: PathBuf,
    rustc_bootstrap: bool,
}

impl Record {
    fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        let json: serde_json::Value = serde_json::from_str(&text).context("failed to parse the record")?;
        match (json["toolchain"].as_str(), json["linker"].as_str(), json["rustc_bootstrap"].as_bool()) {
            (Some(toolchain), Some(linker), Some(rustc_bootstrap)) => {
                Ok(Self { toolchain: toolchain.to_owned(), linker: linker.into(), rustc_bootstrap })
            }
            _ => bail!("{} is not a toolchain record: run `cargo xtask setup`", file.display()),
        }
    }
}

/// The file the user names, else the one of this target directory, else the copy in the cache.
fn find_record(out_dir: &Path) -> Result<PathBuf> {
    if let Some(file) = env::var_os(OVERRIDE) {
        return Ok(file.into());
    }
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))
        .map(|dir| dir.join("pyprof-bpf"));
    // OUT_DIR is some levels below the target directory, more of them with `--target`.
    let mut places = out_dir.ancestors().map(Path::to_owned).chain(cache);
    places.find_map(|dir| Some(dir.join(RECORD)).filter(|file| file.is_file())).context(
        "no BPF toolchain is known here: run `cargo xtask setup` first (AYA_BUILD_SKIP=1 checks without BPF)",
    )
}
