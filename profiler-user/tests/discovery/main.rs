//! Finds real interpreters from outside; what they are and where they are is asserted by the interpreters themselves.

mod embedded;
mod host;
mod others;
mod ways;

use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use profiler_user::process::facts::ElfFacts;
use profiler_user::process::file::Located;
use profiler_user::process::scan::{self, StartTime};
use profiler_user::process::{FactsCache, Inspection, ProcessMemory, PythonImage, inspect, process_name};
use pyunwind::Memory;

fn pyenv(version: &str) -> PathBuf {
    let minor: Vec<&str> = version.split('.').take(2).collect();
    PathBuf::from(std::env::var_os("HOME").expect("HOME is set"))
        .join(format!(".pyenv/versions/{version}/bin/python{}", minor.join(".")))
}

fn supported() -> Vec<PathBuf> {
    let mut all: Vec<_> = ["3.7.16", "3.8.18", "3.9.18", "3.10.13", "3.11.7", "3.12.1", "3.13.0"]
        .into_iter()
        .map(pyenv)
        .collect();
    all.push("/usr/bin/python3.11".into());
    all
}

/// Says what it is and waits until its standard input is closed.
const PARK: &str = "
import sys
try:
    import ctypes
    address = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, '_PyRuntime'))
except (ImportError, ValueError):
    address = 0
sys.stdout.write('%s %d\\n' % ('.'.join(map(str, sys.version_info[:3])), address))
sys.stdout.flush()
sys.stdin.read()
";

/// A child that ends with the test.
struct Parked {
    child: Child,
    /// What it printed: its version and the address of its `_PyRuntime`.
    said: String,
}

impl Parked {
    fn start(command: &mut Command) -> Parked {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        Parked { child, said: said.trim().to_owned() }
    }

    fn script(python: &Path, directory: &Scratch) -> Parked {
        let script = directory.0.join("park_me.py");
        fs::write(&script, PARK).unwrap();
        Parked::start(Command::new(python).arg("-B").arg(script).arg("secret"))
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn python(&self) -> PythonImage {
        match inspect(self.pid(), &mut FactsCache::new()) {
            Ok(Inspection::Python(image)) => *image,
            other => panic!("{}: {other:?}", self.said),
        }
    }

    fn check(&self, image: &PythonImage) {
        let (version, address) = self.said.split_once(' ').unwrap();
        assert_eq!(image.version_text, version);
        assert_eq!(image.runtime_address.0.to_string(), address, "{version}");
        assert!(image.initialized, "{version}");
        assert_eq!(image.layout.minor, image.version.1);
        for part in [&image.executable, &image.runtime] {
            assert!(
                part.start < part.limit && part.build_id.as_ref().is_some_and(|id| id.len() == 40),
                "{part:?}"
            );
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("pyprof-discovery-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_supported_interpreter_is_found_where_it_says_it_is() {
    let directory = Scratch::new("supported");
    for python in supported() {
        let parked = Parked::script(&python, &directory);
        let image = parked.python();
        parked.check(&image);
        assert_eq!(image.executable.path, python.to_str().unwrap());
        assert_eq!(process_name(parked.pid()).unwrap(), "park_me");
        assert_eq!(image.task, parked.pid());
        // The kernel's boot clock and /proc agree, or process keys would never match.
        let start = scan::start_time(parked.pid()).unwrap();
        assert!(StartTime::from_ns(start.as_ns()) == start);
    }
}

/// The newest interpreter is the first of the list, and has no thread until one runs it.
const IDLE: &str = "
try:
    import _interpreters as api
except ImportError:
    import _xxsubinterpreters as api
kept = [api.create() for _ in range(3)]
";

#[test]
fn idle_interpreters_hide_none_that_runs() {
    for python in supported().iter().filter(|python| !python.ends_with("python3.7")) {
        let parked = Parked::start(Command::new(python).args(["-c", &format!("{IDLE}{PARK}")]));
        parked.check(&parked.python());
    }
}

/// What stands for the runtime there is the variable that this function returns.
const PARK_BEFORE_RUNTIME: &str = "
import ctypes, sys
head = ctypes.pythonapi.PyInterpreterState_Head
head.restype = ctypes.c_void_p
current = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, '_PyThreadState_Current'))
sys.stdout.write('%s %d %d\\n' % ('.'.join(map(str, sys.version_info[:3])), head(), current))
sys.stdout.flush()
sys.stdin.read()
";

#[test]
fn interpreters_from_before_the_runtime_are_found_by_their_variables() {
    for version in ["3.6.15", "2.7.18"] {
        let parked = Parked::start(Command::new(pyenv(version)).args(["-c", PARK_BEFORE_RUNTIME]));
        let image = parked.python();
        let [said, head, current] =
            parked.said.split(' ').collect::<Vec<_>>().try_into().expect("three words");
        assert_eq!((image.version_text.as_str(), said), (version, version));
        assert!(image.initialized, "{version}");
        let found = ProcessMemory::new(parked.pid()).word(image.runtime_address).expect("a variable");
        assert_eq!(found.to_string(), head, "{version}");
        let found = image.runtime_address.offset(i64::from(image.layout.runtime_current) as u64);
        assert_eq!(found.0.to_string(), current, "{version}");
    }
}

#[test]
fn other_programs_hold_no_python() {
    let parked = Parked::start(Command::new("/bin/sh").args(["-c", "echo; read x"]));
    let found = inspect(parked.pid(), &mut FactsCache::new());
    assert!(matches!(found, Ok(Inspection::MaybeLater { expects_libpython: false })), "{found:?}");
    // A kernel thread, and nobody.
    let found = inspect(2, &mut FactsCache::new());
    assert!(!matches!(found, Ok(Inspection::Python(_) | Inspection::Unsupported { .. })), "{found:?}");
    assert!(inspect(u32::MAX - 1, &mut FactsCache::new()).is_err());
}

#[test]
fn a_program_that_will_load_libpython_is_announced() {
    // Stopped by the kernel at its first instruction, before the dynamic linker has run.
    let python = pyenv("3.12.1");
    let mut command = Command::new(&python);
    // SAFETY: only a system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            Ok(())
        })
    };
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(child.id() as i32, &mut status, 0) };
    let found = inspect(child.id(), &mut FactsCache::new());
    let _ = child.kill();
    let _ = child.wait();
    assert!(matches!(found, Ok(Inspection::MaybeLater { expects_libpython: true })), "{found:?}");
}

#[test]
fn a_process_whose_leader_has_exited_is_read_through_a_thread() {
    let code = "
import ctypes, threading, sys, time
def run():
    time.sleep(0.3)
    exec(PARK)
threading.Thread(target=run).start()
ctypes.CDLL(None).pthread_exit(None)
";
    let code = format!("PARK = {PARK:?}\n{code}");
    for python in [pyenv("3.13.0"), "/usr/bin/python3.11".into()] {
        // ctypes calls without the GIL, so the thread that stays can take it.
        let parked = Parked::start(Command::new(&python).args(["-c", &code]));
        let maps = fs::read(format!("/proc/{}/maps", parked.pid())).unwrap();
        assert!(maps.is_empty(), "the leader still has its memory");
        let image = parked.python();
        parked.check(&image);
        assert_ne!(image.task, parked.pid());
        let mut word = [0; 8];
        assert_eq!(ProcessMemory::new(image.task).read(image.runtime_address, &mut word), Ok(()));
        assert!(process_name(image.task).unwrap().starts_with("python3"));
    }
}

#[test]
fn hostile_files_are_refused_quickly() {
    let directory = Scratch::new("hostile");
    let at = |name: &str| directory.0.join(name);
    let python = fs::read("/usr/bin/python3.11").unwrap();

    let fifo = CString::new(at("fifo").to_str().unwrap()).unwrap();
    // SAFETY: a valid path.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    symlink("/dev/zero", at("zero")).unwrap();
    symlink("/usr/bin/python3.11", at("link")).unwrap();
    fs::File::create(at("sparse")).unwrap().set_len(10 << 30).unwrap();
    // An ELF header with everything huge, in front of a hole of 10 GB.
    let mut head = python[..64].to_vec();
    head[40..48].copy_from_slice(&(9_u64 << 30).to_le_bytes());
    head[60..62].copy_from_slice(&u16::MAX.to_le_bytes());
    head[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    let elf = fs::File::create(at("sparse-elf")).unwrap();
    elf.set_len(10 << 30).unwrap();
    elf.write_all_at(&head, 0).unwrap();
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("short"), &python[..20]).unwrap();
    fs::write(at("head"), &python[..64]).unwrap();
    fs::write(at("text"), "#!/usr/bin/python3\n".repeat(100)).unwrap();
    let mut foreign = python[..4096].to_vec();
    foreign[4] = 1;
    fs::write(at("foreign"), &foreign).unwrap();

    for name in [
        "fifo",
        "zero",
        "link",
        "sparse",
        "sparse-elf",
        "empty",
        "short",
        "head",
        "text",
        "foreign",
        ".",
        "absent",
    ] {
        let start = Instant::now();
        let facts = facts(&at(name));
        assert!(facts.is_err(), "{name}: {facts:?}");
        assert!(start.elapsed() < Duration::from_millis(100), "{name}: {:?}", start.elapsed());
    }
    assert!(facts(Path::new("/dev/zero")).is_err());
}

fn facts(path: &Path) -> Result<ElfFacts, String> {
    let located = Located::open(path, false).map_err(|error| error.to_string())?;
    let file = located.read().map_err(|error| error.to_string())?;
    ElfFacts::read(&file).map_err(|error| error.to_string())
}

#[test]
fn damaged_files_never_panic_and_never_take_long() {
    let directory = Scratch::new("damaged");
    let path = directory.0.join("elf");
    // Cut anywhere, then with words of headers and tables overwritten: cheap, the same on every run.
    let whole = fs::read(pyenv("3.9.18").parent().unwrap().join("../lib/libpython3.9.so.1.0")).unwrap();
    let file = fs::OpenOptions::new().create(true).truncate(true).write(true).open(&path).unwrap();
    file.write_all_at(&whole, 0).unwrap();
    let mut state = 0x5eed_u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 24
    };
    let start = Instant::now();
    for _ in 0..2_000 {
        let mut undo = Vec::new();
        for _ in 0..1 + next() % 4 {
            // Header, program headers, notes and hash table stand at the start; the dynamic segment where 3.9 has it.
            let place = [64, 1024, 0x4000, whole.len() as u64][(next() % 4) as usize];
            let at = next() % (place - 8);
            let value = [0, u64::MAX, next(), 1 << (next() % 64), whole.len() as u64 - next() % 64]
                [(next() % 5) as usize];
            file.write_all_at(&value.to_le_bytes(), at).unwrap();
            undo.push(at as usize);
        }
        let _ = facts(&path);
        for at in undo {
            file.write_all_at(&whole[at..at + 8], at as u64).unwrap();
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    for _ in 0..200 {
        file.set_len(next() % whole.len() as u64).unwrap();
        let _ = facts(&path);
    }
}

/// Prints what a scan of the host costs; the bound is far above it and only catches an accident.
#[test]
fn a_hundred_processes_are_inspected_in_a_moment() {
    let directory = Scratch::new("hundred");
    let pythons = supported();
    let parked: Vec<_> = (0..100).map(|n| Parked::script(&pythons[n % pythons.len()], &directory)).collect();
    let mut cache = FactsCache::new();
    let mut times = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        for one in &parked {
            assert!(matches!(inspect(one.pid(), &mut cache), Ok(Inspection::Python(_))));
        }
        times.push(start.elapsed());
    }
    let start = Instant::now();
    let everything = scan::processes().unwrap();
    for pid in &everything {
        let _ = inspect(*pid, &mut cache);
    }
    println!("100 processes: {times:?}; the host's {}: {:?}", everything.len(), start.elapsed());
    assert!(times[1] < Duration::from_secs(1), "{times:?}");
}
