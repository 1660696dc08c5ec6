//! Names of threads, read out of live interpreters, against what `threading` says of itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use profiler_user::process::{FactsCache, Inspection, ProcessMemory, PythonImage, inspect};
use pyunwind::host::thread_names::thread_names;

/// Every way in which a thread can have its attributes. Prints a line per thread: its number and its name in hexadecimal.
const SOURCE: &str = r#"
import os, sys, threading, binascii

stop = threading.Event()
def park():
    stop.wait()

class Slotted(threading.Thread):
    __slots__ = ("extra",)

class Wide(threading.Thread):
    def __init__(self, **more):
        threading.Thread.__init__(self, **more)
        for number in range(60):
            setattr(self, "attribute_%d" % number, number)

class Renamed(threading.Thread):
    def run(self):
        self.name = "renamed while it ran"
        renamed.set()
        stop.wait()

renamed = threading.Event()
threads = [
    threading.Thread(target=park),
    threading.Thread(target=park, name="worker"),
    threading.Thread(target=park, name=u"na\u00efve"),
    threading.Thread(target=park, name=u"\u65e5\u672c\u8a9e"),
    threading.Thread(target=park, name=u"\U0001f40d snake"),
    threading.Thread(target=park, name="x" * 300),
    threading.Thread(target=park, name=" \x1b[31m\n"),
    Slotted(target=park, name="slotted"),
    Wide(target=park, name="wide"),
    Renamed(name="before"),
]
dictionary = threading.Thread(target=park, name="with a dictionary")
dictionary.__dict__["more"] = 1
replaced = threading.Thread(target=park, name="another dictionary")
replaced.__dict__ = dict(replaced.__dict__)
threads += [dictionary, replaced]
threads += [threading.Thread(target=park, name="many-%d" % number) for number in range(MANY)]
# Like a program that has been running for a while.
import types
for number in range(MODULES):
    sys.modules["filler_%d" % number] = types.ModuleType("filler")
# Last of them all.
sys.modules["threading"] = sys.modules.pop("threading")
for thread in threads:
    thread.daemon = True
    thread.start()
renamed.wait()
for number in range(MANY // 2):
    # Holes among the threads.
    gone = threading.Thread(target=int, name="gone")
    gone.start()
    gone.join()

def report():
    for thread in threading.enumerate():
        name = binascii.hexlify(thread.name.encode("utf-8")).decode("ascii")
        sys.stdout.write("%d %s\n" % (thread.ident, name))
    sys.stdout.write("%d\n" % os.getpid())
    sys.stdout.flush()

if FORK:
    pid = os.fork()
    if pid != 0:
        os.waitpid(pid, 0)
        os._exit(0)
report()
sys.stdin.read()
os._exit(0)
"#;

/// A child that ends with the test, and whether it has forked.
struct Parked(Child, bool);

impl Drop for Parked {
    fn drop(&mut self) {
        // A forked child ends with its standard input, and its parent with it.
        drop(self.0.stdin.take());
        if !self.1 {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

fn pythons() -> Vec<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    let mut pythons: Vec<PathBuf> = ["3.8.18", "3.9.18", "3.10.13", "3.11.7", "3.12.1", "3.13.0"]
        .into_iter()
        .map(|version| {
            let minor = &version[..version.rfind('.').unwrap()];
            home.join(format!(".pyenv/versions/{version}/bin/python{minor}"))
        })
        .collect();
    pythons.push("/usr/bin/python3.11".into());
    // And what else is asked for.
    let more = std::env::var_os("PYPROF_PYTHONS").unwrap_or_default();
    pythons.extend(std::env::split_paths(&more).filter(|path| path.is_file()));
    pythons
}

/// The process to look at, and its threads by number.
fn start(python: &PathBuf, many: usize, modules: usize, fork: bool) -> (Parked, u32, BTreeMap<u64, String>) {
    let source = SOURCE
        .replace("MANY", &many.to_string())
        .replace("MODULES", &modules.to_string())
        .replace("FORK", if fork { "True" } else { "False" });
    let mut command = Command::new(python);
    command.args(["-I", "-S", "-c", "import sys; exec(sys.stdin.read(int(sys.argv[1])))"]);
    command.arg(source.chars().count().to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("an interpreter");
    child.stdin.as_mut().unwrap().write_all(source.as_bytes()).unwrap();
    let mut names = BTreeMap::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let parked = Parked(child, fork);
    loop {
        let line = lines.next().expect("more lines").unwrap();
        let Some((ident, hex)) = line.split_once(' ') else {
            return (parked, line.parse().unwrap(), names);
        };
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        names.insert(ident.parse().unwrap(), String::from_utf8(bytes).unwrap());
    }
}

fn image(pid: u32) -> PythonImage {
    match inspect(pid, &mut FactsCache::new()) {
        Ok(Inspection::Python(image)) => *image,
        other => panic!("process {pid}: {other:?}"),
    }
}

fn read(image: &PythonImage) -> BTreeMap<u64, String> {
    let mut memory = ProcessMemory::new(image.task);
    let names = thread_names(&mut memory, &image.layout, image.runtime_address).expect("names");
    names.into_iter().map(|thread| (thread.ident, thread.name)).collect()
}

#[test]
fn names_are_those_that_threading_gives() {
    for python in pythons() {
        for (many, modules, fork) in [(0, 0, false), (300, 3000, false), (2, 0, true)] {
            let (parked, pid, expected) = start(&python, many, modules, fork);
            let image = image(pid);
            let began = std::time::Instant::now();
            let got = read(&image);
            println!("{}: {} threads in {:?}", python.display(), got.len(), began.elapsed());
            // Long names are cut.
            let cut = |(ident, name): (u64, String)| (ident, name.chars().take(200).collect());
            let expected: BTreeMap<u64, String> = expected.into_iter().map(cut).collect();
            assert_eq!(got, expected, "{} {many} {modules} {fork}", python.display());
            let least = if fork { 1 } else { many + 13 };
            assert_eq!(got.len(), least, "{}: {got:?}", python.display());
            assert!(got.values().any(|name| name == "MainThread"), "{got:?}");
            drop(parked);
        }
    }
}

/// Threads come and go, the table grows and shrinks, while it is read again and again: no name is ever wrong.
#[test]
fn no_name_is_wrong_while_threads_come_and_go() {
    const CHURN: &str = r#"
import sys, threading, time
def work(lives):
    time.sleep(lives / 1e5)
sys.stdout.write("ready\n")
sys.stdout.flush()
number = 0
while True:
    threads = [threading.Thread(target=work, args=(n * 50,), name="churn-%d" % (n * 7919)) for n in range(number % 90)]
    number += 17
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"#;
    for python in pythons() {
        let mut command = Command::new(&python);
        command.args(["-I", "-S", "-c", CHURN]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("an interpreter");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let parked = Parked(child, false);
        let (mut seen, mut wrong) = (0, Vec::new());
        let image = image(parked.0.id());
        for _ in 0..1000 {
            for name in read(&image).into_values() {
                let number = name.strip_prefix("churn-").and_then(|number| number.parse::<u64>().ok());
                if number.is_some_and(|number| number % 7919 == 0) {
                    seen += 1;
                } else if name != "MainThread" {
                    wrong.push(name);
                }
            }
        }
        drop(parked);
        assert!(wrong.is_empty() && seen > 0, "{}: {seen} {wrong:?}", python.display());
    }
}
