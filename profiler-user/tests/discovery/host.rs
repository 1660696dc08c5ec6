//! A host that loads libpythons itself: late, without using them, two at once, and again after it unloaded them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use profiler_user::process::maps::Maps;
use profiler_user::process::{FactsCache, Inspection, PythonImage, inspect, is_started, may_bring_python};

use super::{Scratch, pyenv};

struct Host {
    child: Child,
    stdout: BufReader<ChildStdout>,
    _directory: Scratch,
}

fn library(version: &str) -> PathBuf {
    let minor = &version[..version.rfind('.').unwrap()];
    pyenv(version).parent().unwrap().join(format!("../lib/libpython{minor}.so.1.0"))
}

fn home(version: &str) -> PathBuf {
    pyenv(version).parent().unwrap().parent().unwrap().to_owned()
}

impl Host {
    /// Runs these steps; `L` followed by a version loads its library, `H` makes its home that of what is initialized next.
    fn start(name: &str, steps: &[&str]) -> Host {
        let directory = Scratch::new(name);
        let (source, program) = (directory.0.join("host.c"), directory.0.join("host"));
        fs::write(&source, include_str!("../../../tests/targets/host.c")).unwrap();
        let built = Command::new("gcc").arg("-o").args([&program, &source]).arg("-ldl").status().unwrap();
        assert!(built.success());
        let version = steps.iter().find_map(|step| step.strip_prefix('L')).unwrap();
        let steps = steps.iter().map(|step| match (step.strip_prefix('L'), step.strip_prefix('H')) {
            (Some(version), _) => format!("l_{}", library(version).display()),
            (_, Some(version)) => format!("h_{}", home(version).display()),
            _ => (*step).to_owned(),
        });
        let mut child = Command::new(&program)
            .args(steps)
            .env("PYTHONHOME", home(version))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Host { child, stdout, _directory: directory }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// What is found with a fresh cache, and with one that has seen the process before.
    fn look(&self, cache: &mut FactsCache) -> Inspection {
        let fresh = inspect(self.child.id(), &mut FactsCache::new()).unwrap();
        let again = inspect(self.child.id(), cache).unwrap();
        let kind = |found: &Inspection| match found {
            Inspection::Python(image) => Some((image.runtime_address, image.initialized)),
            Inspection::Unsupported { .. } | Inspection::MaybeLater { .. } => None,
        };
        assert_eq!(kind(&fresh), kind(&again));
        again
    }

    fn python(&self, cache: &mut FactsCache) -> PythonImage {
        match self.look(cache) {
            Inspection::Python(image) => *image,
            other => {
                let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
                panic!("{other:?}:\n{maps}")
            }
        }
    }

    /// The host says what it runs and where that is.
    fn says(&mut self) -> (String, u64) {
        let line = self.line();
        let (version, address) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        (version.to_owned(), address.parse().unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn found(image: &PythonImage) -> (String, u64) {
    (image.version_text.clone(), image.runtime_address.0)
}

const VERSIONS: [&str; 6] = ["3.8.18", "3.9.18", "3.10.13", "3.11.7", "3.12.1", "3.13.0"];

#[test]
fn loaded_late_initialized_later_finalized_and_begun_again() {
    for version in VERSIONS {
        let load = format!("L{version}");
        let steps = [
            "e_up",
            "w",
            &load,
            "p0",
            "w",
            "i0",
            "r0import sys",
            "e_on",
            "w",
            "f0",
            "e_off",
            "w",
            "i0",
            "e_on",
            "w",
            "f0",
            "c0",
            "e_out",
            "w",
            "m",
            &load,
            "i1",
            "p1",
            "w",
        ];
        let mut host = Host::start("late", &steps);
        let cache = &mut FactsCache::new();
        host.line();
        let found_before = host.look(cache);
        assert!(matches!(found_before, Inspection::MaybeLater { expects_libpython: false }), "{version}");
        host.go_on();
        // Mapped and not used.
        let said = host.says();
        let image = host.python(cache);
        assert_eq!((found(&image), image.initialized), (said.clone(), false), "{version}");
        let started = || is_started(host.child.id(), &image.layout, image.runtime_address);
        assert_eq!(started(), Ok(false), "{version}");
        for expected in [true, false, true] {
            host.go_on();
            host.line();
            let now = host.python(cache);
            assert_eq!((found(&now), now.initialized), (said.clone(), expected), "{version}");
            let started = is_started(host.child.id(), &image.layout, image.runtime_address);
            assert_eq!(started, Ok(expected), "{version}");
            assert!(!now.has_rival && now.verified, "{version}");
        }
        // Unloaded, and loaded at another address.
        host.go_on();
        assert_eq!(host.line(), "out");
        assert!(matches!(host.look(cache), Inspection::MaybeLater { .. }), "{version}");
        assert!(is_started(host.child.id(), &image.layout, image.runtime_address).is_err(), "{version}");
        host.go_on();
        let moved = host.says();
        assert_ne!(moved, said, "{version}: the host did not move it");
        let image = host.python(cache);
        assert_eq!((found(&image), image.initialized), (moved, true), "{version}");
    }
}

#[test]
fn of_two_the_one_at_work_is_found() {
    const SPIN: &str = "r1import sys; print('work', flush=True); sys.stdin.readline()";
    // Steps, which of the two it is, whether both have threads.
    let rows: [(&[&str], usize, bool); 4] = [
        (&["L3.9.18", "L3.11.7", "p0", "p1", "i0", "e_work", "w"], 0, false),
        (&["L3.9.18", "L3.11.7", "p0", "p1", "H3.11.7", "i1", "e_work", "w"], 1, false),
        (&["L3.11.7", "L3.11.7", "p0", "p1", "i0", "e_work", "w"], 0, false),
        // Both have a thread state; the one with frames is at work.
        (&["L3.11.7", "L3.9.18", "p0", "p1", "i0", "s0", "H3.9.18", "i1", SPIN], 1, true),
    ];
    for (steps, which, both) in rows {
        let mut host = Host::start("two", steps);
        let said = [host.says(), host.says()];
        assert_eq!(host.line(), "work");
        let image = host.python(&mut FactsCache::new());
        assert_eq!(
            (found(&image), image.initialized, image.has_rival),
            (said[which].clone(), true, both),
            "{steps:?}"
        );
    }
}

#[test]
fn only_a_file_with_a_python_speaks_for_a_look() {
    let mut host = Host::start("speaks", &["L3.12.1", "p0", "w"]);
    host.says();
    let maps = Maps::read(host.child.id()).unwrap();
    let cache = &mut FactsCache::new();
    // The second time from the cache.
    for _ in 0..2 {
        let speaking: Vec<String> = maps
            .iter()
            .filter(|mapping| mapping.executable)
            .filter(|mapping| may_bring_python(host.child.id(), mapping, cache))
            .map(|mapping| String::from_utf8_lossy(mapping.path).into_owned())
            .collect();
        assert_eq!(speaking.len(), 1, "{speaking:?}");
        assert!(speaking[0].ends_with("libpython3.12.so.1.0"), "{speaking:?}");
    }
}
