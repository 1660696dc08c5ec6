//! The bundled workload: a few small Python programs for a newcomer's first capture.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::util::{Workspace, command, output, which};

/// Each is light; together they ask for about one core.
const PROGRAMS: [&str; 4] = ["web_handlers.py", "json_worker.py", "matrix.py", "pair.py"];
/// What the profiler supports, newest last; see the support table of the README.
const MINORS: std::ops::RangeInclusive<u32> = 8..=13;

/// Starts the programs as children of this process; they end with it, however it ends.
pub(super) fn start(workspace: &Workspace) -> Result<()> {
    let (python, version) = find_python()?;
    let dir = workspace.root.join("xtask/demo");
    let mut pids = Vec::new();
    for program in PROGRAMS {
        let mut child = command(&python);
        child.arg(dir.join(program)).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        // Its own process group: Ctrl-C is for the profiler, and would make Python print tracebacks into its
        // table.
        child.process_group(0);
        die_with_us(&mut child);
        let child =
            child.spawn().with_context(|| format!("failed to start {program} with {}", python.display()))?;
        pids.push(child.id().to_string());
    }
    eprintln!("demo: Python {version} ({}), processes {} and a child", python.display(), pids.join(", "));
    Ok(())
}

fn die_with_us(child: &mut Command) {
    let parent = std::process::id();
    let prepare = move || {
        // SAFETY: both calls take plain numbers and are async-signal-safe, as pre_exec demands.
        let orphaned = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 || libc::getppid() as u32 != parent
        };
        // A parent that died before the prctl sends nothing any more.
        if orphaned { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure allocates nothing and takes no lock, so it is fit to run between fork and exec.
    unsafe { child.pre_exec(prepare) };
}

/// The first CPython of a supported version; the interpreter itself, since the one on PATH may be a wrapper
/// script.
fn find_python() -> Result<(PathBuf, String)> {
    const ASK: &str = "import sys; print(sys.implementation.name, *sys.version_info[:3], sys.executable)";
    let mut names = vec!["python3".to_owned()];
    names.extend(MINORS.rev().map(|minor| format!("python3.{minor}")));
    for found in names.iter().filter_map(|name| which(name)).chain(["/usr/bin/python3".into()]) {
        let Ok(answer) = output(command(&found).args(["-c", ASK])) else { continue };
        if let Some(python) = supported(answer.trim()) {
            return Ok(python);
        }
    }
    bail!(
        "--demo needs a CPython 3.{} to 3.{} on PATH: `apt-get install python3`",
        MINORS.start(),
        MINORS.end()
    )
}

fn supported(answer: &str) -> Option<(PathBuf, String)> {
    let mut words = answer.splitn(5, ' ');
    let (name, major, minor) = (words.next()?, words.next()?, words.next()?);
    let (patch, executable) = (words.next()?, words.next()?);
    let fits =
        name == "cpython" && major == "3" && MINORS.contains(&minor.parse().ok()?) && !executable.is_empty();
    fits.then(|| (executable.into(), format!("{major}.{minor}.{patch}")))
}

#[cfg(test)]
mod tests {
    use super::supported;

    #[test]
    fn the_demo_takes_a_supported_cpython_only() {
        let check = |answer: &str, expected: Option<&str>| {
            assert_eq!(supported(answer).map(|(_, version)| version).as_deref(), expected, "{answer}");
        };
        check("cpython 3 11 2 /usr/bin/python3", Some("3.11.2"));
        check("cpython 3 13 0 /opt/a dir/python", Some("3.13.0"));
        check("cpython 3 14 0 /usr/bin/python3", None);
        check("cpython 3 7 0 /usr/bin/python3", None);
        check("pypy 3 10 0 /usr/bin/pypy3", None);
        check("cpython 3 11 2", None);
        check("", None);
    }
}
