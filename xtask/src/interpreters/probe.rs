//! What an interpreter is, as it and the kernel say: the build from the inside, what is mapped and how the
//! executable is linked from the outside. A tree is as good as what this finds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::rows::{Kind, Libc, Row, Runtime};
use crate::util::{command, which};

/// Waits at the end, so that the process can be looked at. Only modules that each build has.
const SCRIPT: &str = "\
import sys, sysconfig
jit = getattr(sys, '_jit', None)
print('implementation', sys.implementation.name)
print('version', sys.version.split()[0].rstrip('+'))
print('abiflags', getattr(sys, 'abiflags', ''))
print('debug', int(hasattr(sys, 'gettotalrefcount')))
print('free_threaded', int(bool(sysconfig.get_config_var('Py_GIL_DISABLED'))))
print('jit', int(bool(jit and jit.is_enabled())))
print('end', flush=True)
sys.stdin.read()
";

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    pub(super) implementation: String,
    pub(super) version: String,
    pub(super) abiflags: String,
    pub(super) debug: bool,
    pub(super) free_threaded: bool,
    pub(super) jit: bool,
    pub(super) runtime: Runtime,
    pub(super) libc: Libc,
    pub(super) pie: bool,
}

/// The words that start `row`, whose tree has its root at `root`; scripts follow.
pub(super) fn argv(row: &Row, root: &Path) -> Result<Vec<String>> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
    };
    // What a package brings lies below /usr and finds the rest there; what was built knows its own place.
    if !row.program.starts_with("usr/") {
        return Ok(vec![text(&root.join(row.program))?]);
    }
    let chroot = which("chroot").context("chroot is not on PATH")?;
    Ok(vec![text(&chroot)?, text(root)?, format!("/{}", row.program)])
}

/// Runs the interpreter and checks that it is what the row says.
pub(super) fn probe(row: &Row, root: &Path) -> Result<Facts> {
    let argv = argv(row, root)?;
    let mut python = command(&argv[0]);
    python.args(&argv[1..]).args(["-c", SCRIPT]).envs(row.env.iter().copied());
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().with_context(|| format!("failed to start {}", argv.join(" ")))?;
    let facts = ask(&mut child);
    drop(child.stdin.take());
    let mut stderr = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        let _ = pipe.read_to_string(&mut stderr);
    }
    let status = child.wait().with_context(|| format!("failed to wait for {}", argv.join(" ")))?;
    if !status.success() {
        bail!("{} ended with {status}: {}", argv.join(" "), stderr.trim());
    }
    let facts = facts?;
    match mismatch(row, &facts) {
        Some(what) => Err(anyhow!("{} is not what it should be: {what}", argv.join(" "))),
        None => Ok(facts),
    }
}

fn ask(child: &mut Child) -> Result<Facts> {
    let stdout = child.stdout.take().context("no pipe to the interpreter")?;
    let mut said = BTreeMap::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("failed to read what the interpreter says")?;
        match line.split_once(' ') {
            Some((key, value)) => drop(said.insert(key.to_owned(), value.to_owned())),
            None if line == "end" => {
                let proc = Path::new("/proc").join(child.id().to_string());
                let maps = fs::read_to_string(proc.join("maps")).context("failed to read its mappings")?;
                let mut head = [0; 18];
                let exe = File::open(proc.join("exe")).and_then(|mut exe| exe.read_exact(&mut head));
                exe.context("failed to read its executable")?;
                return facts(&said, &maps, head);
            }
            None => bail!("the interpreter said {line:?}"),
        }
    }
    bail!("the interpreter ended early")
}

fn facts(said: &BTreeMap<String, String>, maps: &str, elf: [u8; 18]) -> Result<Facts> {
    let text = |key: &str| said.get(key).cloned().with_context(|| format!("it did not say {key}"));
    let flag = |key: &str| text(key).map(|value| value == "1");
    let (runtime, libc) = linkage(maps);
    Ok(Facts {
        implementation: text("implementation")?,
        version: text("version")?,
        abiflags: text("abiflags")?,
        debug: flag("debug")?,
        free_threaded: flag("free_threaded")?,
        jit: flag("jit")?,
        runtime,
        libc,
        // e_type of elf.h, ET_DYN.
        pie: u16::from_le_bytes([elf[16], elf[17]]) == 3,
    })
}

/// From the names of what is mapped.
fn linkage(maps: &str) -> (Runtime, Libc) {
    let files = || maps.lines().filter_map(|line| Some(&line[line.rfind('/')? + 1..]));
    let is_there = |prefix: &str| files().any(|name| name.starts_with(prefix));
    let runtime = match is_there("libpython") || is_there("libpypy") {
        true => Runtime::InLibrary,
        false => Runtime::InExecutable,
    };
    // The loader of musl is its C library, and a link to that on Debian.
    let is_musl = is_there("ld-musl") || files().any(|name| name == "libc.so");
    let libc = match (is_musl, is_there("libc.so.6") || is_there("libc-2.")) {
        (true, _) => Libc::Musl,
        (false, true) => Libc::Glibc,
        (false, false) => Libc::Static,
    };
    (runtime, libc)
}

fn mismatch(row: &Row, facts: &Facts) -> Option<String> {
    let Facts { implementation, version, abiflags, debug, free_threaded, jit, runtime, libc, pie } = facts;
    let of_row = |kinds: &[Kind]| kinds.contains(&row.kind);
    let wanted_name = if of_row(&[Kind::Pypy]) { "pypy" } else { "cpython" };
    let is_of_minor = version.split('.').take(2).eq(["3", row.minor.to_string().as_str()]);
    let checks = [
        (implementation == wanted_name, format!("implementation {implementation}")),
        (is_of_minor, format!("version {version}")),
        (*debug == of_row(&[Kind::Debug]), format!("debug {debug}, abiflags {abiflags:?}")),
        (
            *free_threaded == of_row(&[Kind::FreeThreaded]),
            format!("free-threaded {free_threaded}, abiflags {abiflags:?}"),
        ),
        (*jit == of_row(&[Kind::Jit]), format!("JIT {jit}")),
        (*runtime == row.runtime, format!("runtime {runtime:?}")),
        (*libc == row.libc, format!("C library {libc:?}")),
        (*pie == row.pie, format!("PIE {pie}")),
    ];
    checks.into_iter().find_map(|(holds, what)| (!holds).then_some(what))
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    #[test]
    fn linkage_is_what_is_mapped() {
        let check = |maps: &str, expected| assert_eq!(linkage(maps), expected, "{maps}");
        let exe = "00400000-00b2d000 r-xp 00000000 fe:00 12 /r/usr/bin/python3.14\n";
        let libc = "7f00-7f01 r-xp 00000000 fe:00 13 /r/usr/lib/x86_64-linux-gnu/libc.so.6\n";
        let musl = "7f00-7f01 r-xp 00000000 fe:00 13 /usr/lib/x86_64-linux-musl/libc.so\n";
        let alpine = "7f00-7f01 r-xp 00000000 fe:00 13 /lib/ld-musl-x86_64.so.1\n";
        let library = "7f02-7f03 r-xp 00000000 fe:00 14 /r/usr/lib/libpython3.14.so.1.0\n";
        let heap = "01000000-01021000 rw-p 00000000 00:00 0 [heap]\n";
        check(&format!("{exe}{heap}{libc}"), (Runtime::InExecutable, Libc::Glibc));
        check(&format!("{exe}{heap}{libc}{library}"), (Runtime::InLibrary, Libc::Glibc));
        check(&format!("{exe}{musl}"), (Runtime::InExecutable, Libc::Musl));
        check(&format!("{exe}{alpine}"), (Runtime::InExecutable, Libc::Musl));
        check(&format!("{exe}{heap}"), (Runtime::InExecutable, Libc::Static));
    }

    #[test]
    fn an_interpreter_that_is_another_one_than_the_row_says_is_told() {
        let row = |kind| ROWS.iter().find(|row| row.kind == kind && row.minor == 14).unwrap();
        let release = Facts {
            implementation: "cpython".into(),
            version: "3.14.10".into(),
            abiflags: String::new(),
            debug: false,
            free_threaded: false,
            jit: false,
            runtime: Runtime::InExecutable,
            libc: Libc::Glibc,
            pie: false,
        };
        let debug = Facts { debug: true, abiflags: "d".into(), ..release.clone() };
        let threaded = Facts { free_threaded: true, pie: true, ..release.clone() };
        let check = |kind, facts: &Facts, expected: Option<&str>| {
            let found = mismatch(row(kind), facts);
            assert_eq!(found.as_deref(), expected, "{kind:?}");
        };
        check(Kind::Release, &release, None);
        check(Kind::Debug, &debug, None);
        check(Kind::FreeThreaded, &threaded, None);
        check(Kind::Jit, &Facts { jit: true, ..release.clone() }, None);
        check(Kind::Jit, &release, Some("JIT false"));
        check(Kind::Debug, &release, Some("debug false, abiflags \"\""));
        check(Kind::Release, &debug, Some("debug true, abiflags \"d\""));
        check(Kind::FreeThreaded, &release, Some("free-threaded false, abiflags \"\""));
        check(Kind::Release, &Facts { version: "3.1.4".into(), ..release.clone() }, Some("version 3.1.4"));
        check(Kind::Release, &Facts { pie: true, ..release.clone() }, Some("PIE true"));
        let pypy = Facts { implementation: "pypy".into(), ..release };
        check(Kind::Release, &pypy, Some("implementation pypy"));
    }
}
