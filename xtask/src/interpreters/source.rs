//! An interpreter that no suite has: built from the source of a release, with the options that make it what
//! it is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};

use super::debian::Mirror;
use super::rows::Tarball;
use crate::setup::apt_install;
use crate::util::{command, display, output, which};

const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// Builds and installs into `work/root`; `root` is where that will be in the end.
pub(super) fn build(
    tarball: &Tarball,
    cc: Option<&str>,
    configure: &[&str],
    mirror: &Mirror,
    work: &Path,
    root: &Path,
) -> Result<()> {
    require(&[("gcc", "gcc"), ("make", "make"), ("xz", "xz-utils")])?;
    // The modules that an interpreter of use has (zlib, ctypes, ssl); a C library of its own has none of them.
    match cc {
        Some("musl-gcc") => require(&[("musl-gcc", "musl-tools")])?,
        Some(other) => bail!("no package is known for the compiler {other}"),
        None => apt_install(&["zlib1g-dev", "libffi-dev", "libssl-dev"])?,
    }

    let archive = work.join("archive");
    let uri = format!("{}/{}", mirror.uri, tarball.path);
    output(
        command(APT_HELPER)
            .args(["-o", "APT::Sandbox::User=root", "download-file", &uri])
            .arg(&archive)
            .arg(format!("SHA256:{}", tarball.sha256)),
    )
    .with_context(|| format!("failed to download {uri}"))?;

    let source = work.join("source");
    fs::create_dir(&source).with_context(|| format!("failed to create {}", source.display()))?;
    output(command("tar").arg("-xf").arg(&archive).args(["--strip-components=1", "-C"]).arg(&source))?;

    let mut step = nice("./configure", &source);
    // Says the architecture's usual name also with musl, where 3.11 does not believe its own guess.
    step.arg(format!("--build={}-linux-gnu", std::env::consts::ARCH)).arg("-q").args(configure);
    step.arg(format!("--prefix={}", root.display()));
    if let Some(cc) = cc {
        step.env("CC", cc);
    }
    logged(&mut step, &work.join("log"))?;
    let jobs = available_parallelism().map_or(1, usize::from);
    logged(nice("make", &source).args(["-s", &format!("-j{jobs}")]), &work.join("log"))?;

    let stage = work.join("stage");
    let mut install = nice("make", &source);
    install.args(["-s", "altinstall"]).arg(format!("DESTDIR={}", stage.display()));
    logged(&mut install, &work.join("log"))?;
    let installed = stage.join(root.strip_prefix("/").context("the cache has no absolute path")?);
    remove_archives(&installed)?;
    fs::rename(&installed, work.join("root")).context("failed to move what was installed")
}

/// A program of a package, unless the machine has it from wherever.
pub(super) fn require(tools: &[(&str, &str)]) -> Result<()> {
    let missing = tools.iter().filter(|(program, _)| which(program).is_none());
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    apt_install(&packages)
}

/// A build takes minutes of every core: whatever else runs goes first.
fn nice(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut nice = command("nice");
    nice.args(["-n", "15"]).arg(program).current_dir(dir);
    nice
}

/// Runs without a word; an error has the end of what was said.
fn logged(step: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("failed to create {}", log.display()))?;
    let stdout = file.try_clone().context("failed to share the log")?;
    let status = step.stdout(stdout).stderr(file).status();
    let status = status.with_context(|| format!("failed to start {}", display(step)))?;
    if !status.success() {
        let said = fs::read(log).unwrap_or_default();
        bail!("{} ended with {status}:\n{}", display(step), last_lines(&String::from_utf8_lossy(&said), 12));
    }
    Ok(())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Two copies of libpython.a, more than half of the size; nothing is linked with them.
fn remove_archives(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_archives(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "a") {
            fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn an_error_shows_the_end_of_the_log() {
        let check = |text, expected| assert_eq!(last_lines(text, 2), expected);
        check("", "");
        check("one\n", "one");
        check("one\ntwo\nthree\n", "two\nthree");
    }
}
