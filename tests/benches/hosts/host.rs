//! A host that runs: how it is asked, which processes it has, and that none of them outlives the test.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pyprof_tests::{Scratch, Target};

use crate::truth::Report;

/// Until a host that was just started answers, and for an answer. Nothing measures this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a request gets to the host, and its answer back.
pub enum Ask {
    /// A line in, a line out.
    Line,
    Unix(PathBuf),
    Tcp(u16),
    /// `MS PATH` in, and some time later the answer in that file.
    File,
}

/// What the host's processes must be called and labelled, and which there are besides those that answer.
#[derive(Clone, Default)]
pub struct Expected {
    /// In the table and in the names of the files.
    pub name: &'static str,
    /// How many requests there are at a time: at least as many processes answer.
    pub workers: usize,
    pub labels: Vec<(&'static str, String)>,
    /// Processes of the host that answer nothing run no Python at all: no profile is theirs.
    pub others_without_python: bool,
    /// How many such processes must be there, or the row checks nothing.
    pub others: usize,
    /// Its pids are those of another namespace: where the host says which process it is.
    pub pid_file: Option<PathBuf>,
}

pub struct Host {
    pub ask: Ask,
    pub expected: Expected,
    /// What makes the processes that run no Python use the CPU.
    pub busy_work: Option<String>,
    /// Where a server has the work.
    pub prefix: &'static str,
    target: Mutex<Target>,
    pid: u32,
    /// What takes the lines, if not the host itself.
    client: Option<Mutex<Target>>,
    /// Told when the host is to end: what no signal to its processes takes away.
    pub last: Option<Box<dyn FnOnce() + Send + Sync>>,
    pub scratch: Scratch,
}

impl Host {
    /// Starts a host in a process group of its own; `scratch` holds what it reads and writes.
    pub fn start(mut command: Command, scratch: Scratch, ask: Ask, expected: Expected) -> Host {
        command.process_group(0);
        let target = Target::command(command);
        let pid = target.pid();
        let target = Mutex::new(target);
        Host { ask, expected, busy_work: None, prefix: "", target, pid, client: None, last: None, scratch }
    }

    pub fn expecting(mut self, expected: Expected) -> Host {
        self.expected = expected;
        self
    }

    /// Lines go to another program, which knows how to ask.
    pub fn told_by(mut self, client: Command) -> Host {
        self.client = Some(Mutex::new(Target::command(client)));
        self
    }

    /// Waits until it answers.
    pub fn ready(&self) -> Result<(), String> {
        match self.ask {
            Ask::Line => match self.line()?.as_str() {
                "ready" => Ok(()),
                line => Err(format!("the host said {line:?}")),
            },
            _ => {
                let deadline = Instant::now() + PATIENCE;
                loop {
                    match self.request(0) {
                        Ok(_) => return Ok(()),
                        Err(why) if Instant::now() > deadline => return Err(why),
                        Err(_) => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            }
        }
    }

    /// Lets the host spend so many milliseconds on each part of the work.
    pub fn request(&self, ms: u64) -> Result<Report, String> {
        let text = match &self.ask {
            Ask::Line => {
                self.tell(&ms.to_string());
                self.line()?
            }
            Ask::File => self.by_file(ms)?,
            Ask::Unix(_) | Ask::Tcp(_) => self.get(&format!("{}/?{ms}", self.prefix))?,
        };
        Report::parse(&text)
    }

    /// The body of what the server answers.
    pub fn get(&self, what: &str) -> Result<String, String> {
        let request = format!("GET {what} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let exchange = || -> std::io::Result<Vec<u8>> {
            match &self.ask {
                Ask::Unix(path) => {
                    let stream = UnixStream::connect(path)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    talk(stream, &request)
                }
                Ask::Tcp(port) => {
                    let stream = TcpStream::connect(("127.0.0.1", *port))?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    talk(stream, &request)
                }
                Ask::Line | Ask::File => Err(std::io::Error::other("it is no server")),
            }
        };
        let answer = exchange().map_err(|error| format!("failed to get {what}: {error}"))?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or_default();
        if !status.contains(" 200 ") {
            return Err(format!("{what}: {status:?} {}", body.trim()));
        }
        Ok(body.to_owned())
    }

    fn by_file(&self, ms: u64) -> Result<String, String> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let answer = self.scratch.path().join(format!("answer-{number}"));
        self.tell(&format!("{ms} {}", answer.display()));
        let deadline = Instant::now() + PATIENCE;
        loop {
            match std::fs::read_to_string(&answer) {
                Ok(text) => return Ok(text),
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(format!("no answer: {error}")),
            }
        }
    }

    fn tell(&self, line: &str) {
        let teller = self.client.as_ref().unwrap_or(&self.target);
        teller.lock().expect("nobody panicked").tell(line);
    }

    fn line(&self) -> Result<String, String> {
        Ok(self.target.lock().map_err(|_| "an earlier request failed")?.line())
    }

    /// All processes of the host's group, as the kernel tells.
    pub fn processes(&self) -> BTreeSet<u32> {
        let all = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| group_of(*pid) == Some(self.pid)).collect()
    }
}

fn talk(mut stream: impl Read + Write, request: &str) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The fifth field of `/proc/PID/stat`; the second, in parentheses, may hold anything.
fn group_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// CPU time of a process, as the scheduler charged it to its threads.
pub fn cpu_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.filter_map(of_task).sum()
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            last();
        }
        // SAFETY: a signal to the group of our own child, which has not been waited for: the number is not used again.
        unsafe { libc::kill(-(self.pid as i32), libc::SIGKILL) };
        // The scratch directory goes with what is in it only when nobody writes there any more.
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.processes().iter().any(|pid| is_alive(*pid)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The sources of the work, where the host can read them.
pub fn sources() -> Scratch {
    let scratch = Scratch::new("host");
    let directory: &Path = scratch.path();
    for (name, text) in [
        ("work.py", include_str!("../../targets/hosts/work.py")),
        ("app.py", include_str!("../../targets/hosts/app.py")),
        ("tasks.py", include_str!("../../targets/hosts/tasks.py")),
    ] {
        std::fs::write(directory.join(name), text).expect("a source");
    }
    scratch
}
