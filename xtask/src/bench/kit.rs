//! The other profilers and the packages that their targets import, from the registries: each in a directory of its own below
//! the cache, made next to its place and renamed when it is whole. One that cannot be had is named, and the rest go on.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::interpreters;
use crate::setup::apt_install;
use crate::util::{cache_dir, command, output, run, which};

/// What pip puts into one directory. Exact versions, so that a table can be made again.
struct Row {
    name: &'static str,
    packages: &'static [&'static str],
    /// Of CPython 3: what the wheels are for.
    minor: u8,
    /// A program that has to run here.
    program: Option<&'static str>,
}

const ROWS: [Row; 5] = [
    Row { name: "py-spy", packages: &["py-spy==0.4.3"], minor: 13, program: Some("bin/py-spy") },
    Row { name: "austin", packages: &["austin-dist==4.0.0"], minor: 13, program: Some("bin/austin") },
    Row { name: "ddtrace", packages: &["ddtrace==4.16.0"], minor: 13, program: None },
    Row { name: "targets-3.13", packages: TARGETS, minor: 13, program: None },
    Row { name: "targets-3.15", packages: TARGETS, minor: 15, program: None },
];
const TARGETS: &[&str] = &["numpy==2.5.5", "Django==6.1.3", "gunicorn==27.0.1"];

/// Programs of Debian packages.
const PROGRAMS: [(&str, &str); 2] = [("perf", "linux-perf"), ("strace", "strace")];

/// What the directory was made from; written last.
const RECIPE: &str = "recipe";

/// Where all is, and what is not there and why.
pub(super) struct Kit {
    pub(super) directory: PathBuf,
    pub(super) missing: Vec<(&'static str, String)>,
}

pub(super) fn get() -> Result<Kit> {
    let directory = cache_dir()?.join("peers");
    fs::create_dir_all(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
    let _lock = lock(&directory.join(".lock"))?;
    let mut missing = Vec::new();
    for row in &ROWS {
        if let Err(why) = fetch(&directory, row) {
            missing.push((row.name, format!("{why:#}")));
        }
    }
    for (program, package) in PROGRAMS {
        if which(program).is_none()
            && let Err(why) = apt_install(&[package])
        {
            missing.push((program, format!("{why:#}")));
        }
    }
    for (name, why) in &missing {
        eprintln!("{name} is not to be had: {why}");
    }
    Ok(Kit { directory, missing })
}

/// The directory with gunicorn and Django for CPython 3.13.
pub(crate) fn django() -> Result<PathBuf> {
    const NAME: &str = "targets-3.13";
    let directory = cache_dir()?.join("peers");
    fs::create_dir_all(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
    let _lock = lock(&directory.join(".lock"))?;
    let row = ROWS.iter().find(|row| row.name == NAME).context("no such row")?;
    fetch(&directory, row)?;
    Ok(directory.join(NAME))
}

fn recipe(row: &Row) -> String {
    format!("3.{} {}\n", row.minor, row.packages.join(" "))
}

fn fetch(directory: &Path, row: &Row) -> Result<()> {
    let place = directory.join(row.name);
    if fs::read_to_string(place.join(RECIPE)).is_ok_and(|made_from| made_from == recipe(row)) {
        return Ok(());
    }
    // Left by one that was killed; the lock says that nobody works on it.
    let scratch = directory.join(format!(".{}", row.name));
    for old in [&scratch, &place] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("failed to remove {}", old.display()))?;
        }
    }
    let mut pip = command(python_with_pip()?);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location"]);
    // The versions are exact; pip would hold what they require against the Python that it runs on itself.
    pip.args(["--only-binary", ":all:", "--implementation", "cp", "--ignore-requires-python"]);
    pip.args(["--python-version", &format!("3.{}", row.minor), "--abi", &format!("cp3{}", row.minor)]);
    // Extension modules for the stable ABI, and those of no version at all.
    pip.args(["--abi", "abi3", "--abi", "none"]);
    let arch = std::env::consts::ARCH;
    for glibc in ["_2_17", "2014", "_2_28", "_2_27", "_2_5", "1"] {
        pip.args(["--platform", &format!("manylinux{glibc}_{arch}")]);
    }
    pip.args(["--platform", &format!("linux_{arch}")]);
    run(pip.arg("--target").arg(&scratch).args(row.packages))?;
    if let Some(program) = row.program {
        make_run(&scratch.join(program))?;
    }
    fs::write(scratch.join(RECIPE), recipe(row)).context("failed to write the recipe")?;
    fs::rename(&scratch, &place).with_context(|| format!("failed to rename to {}", place.display()))
}

/// A program may want a newer C library than this machine's: there is one with the newest interpreter.
fn make_run(program: &Path) -> Result<()> {
    let runs = || output(command(program).arg("--version")).map(drop);
    if runs().is_ok() {
        return Ok(());
    }
    let (_, newest) = interpreters::look(&["sid-3.15".to_owned()], true)?.pop().context("no CPython 3.15")?;
    let root = newest?.root.context("the newest interpreter has no root of its own")?;
    if which("patchelf").is_none() {
        apt_install(&["patchelf"])?;
    }
    run(command("patchelf")
        .arg("--set-interpreter")
        .arg(root.join("lib64/ld-linux-x86-64.so.2"))
        .args(["--force-rpath", "--set-rpath"])
        .arg(root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH)))
        .arg(program))?;
    runs()
}

/// Any pip will do: it is told what the wheels are for.
fn python_with_pip() -> Result<PathBuf> {
    let python = Path::new("/usr/bin/python3");
    let has_pip = |python: &Path| output(command(python).args(["-m", "pip", "--version"])).is_ok();
    if !has_pip(python) {
        apt_install(&["python3-pip"])?;
    }
    if !has_pip(python) {
        bail!("{} has no pip", python.display());
    }
    Ok(python.to_owned())
}

fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
    // SAFETY: the descriptor is open as long as `file` is borrowed, and flock touches no memory of ours.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("failed to lock {}", path.display()));
    }
    Ok(file)
}
