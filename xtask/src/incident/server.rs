//! The slow server and who asks it: gunicorn with one worker on a socket, and a thread that keeps it busy.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::util::command;

const SOURCE: &str = include_str!("shop.py");
/// The line that takes the time.
const SLOW: &str = "if customer[\"id\"] == order[\"customer\"]:";
/// The line that waits.
const WAITS: &str = "return int(service.recv(16))";
/// What it is mended with.
const SEARCH: &str = "    for customer in CUSTOMERS:\n        if customer[\"id\"] == order[\"customer\"]:\n            return customer\n";
const LOOK_UP: &str = "    return BY_ID[order[\"customer\"]]\n";
const BEFORE_ORDERS: &str = "ORDERS = [";
const INDEX: &str = "BY_ID = {customer[\"id\"]: customer for customer in CUSTOMERS}\n";

const PACKAGES: &str = "packages";
const START: Duration = Duration::from_secs(30);
const MEASURE: Duration = Duration::from_secs(3);
/// How long the other service takes to answer.
const STOCK: Duration = Duration::from_millis(2);

/// The program, in a directory of its own that goes with it.
pub(super) struct Shop {
    pub(super) directory: PathBuf,
    pub(super) slow_line: usize,
    pub(super) waiting_line: usize,
    python: PathBuf,
    packages: PathBuf,
}

impl Shop {
    /// At a place with a short name, since the page shows it.
    pub(super) fn new(python: &Path, packages: &Path) -> Result<Shop> {
        let directory = std::env::temp_dir().join("shop");
        // Nobody else's: one that is there already is an error.
        fs::create_dir(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
        let shop = Shop {
            slow_line: line_of(SOURCE, SLOW)?,
            waiting_line: line_of(&mended()?, WAITS)?,
            directory,
            python: python.to_owned(),
            packages: packages.to_owned(),
        };
        shop.write(SOURCE)?;
        answer_slowly(&shop.directory.join("stock"))?;
        // Where a deployment would have them, and not at the long path of our cache.
        symlink(&shop.packages, shop.directory.join(PACKAGES)).context("failed to link the packages")?;
        Ok(shop)
    }

    fn write(&self, source: &str) -> Result<()> {
        fs::write(self.directory.join("shop.py"), source).context("failed to write the shop")
    }

    pub(super) fn mend(&self) -> Result<()> {
        self.write(&mended()?)
    }
}

fn line_of(source: &str, what: &str) -> Result<usize> {
    Ok(source.lines().position(|line| line.trim() == what).with_context(|| format!("no line {what}"))? + 1)
}

/// With a dictionary instead of a search.
fn mended() -> Result<String> {
    let mended =
        SOURCE.replace(SEARCH, LOOK_UP).replacen(BEFORE_ORDERS, &format!("{INDEX}{BEFORE_ORDERS}"), 1);
    if mended.contains(SLOW) || !mended.contains(INDEX) {
        bail!("the mend does not fit the shop");
    }
    Ok(mended)
}

/// The service that the shop asks, one question at a time. Its thread ends with the command.
fn answer_slowly(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket).context("failed to bind the socket of the other service")?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::sleep(STOCK);
            // Who has asked may be gone.
            let _ = (&stream).write_all(b"7");
        }
    });
    Ok(())
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Left behind only if something else removed it first.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A server under load. It ends with its owner.
pub(super) struct Server {
    child: Child,
    /// The process that answers.
    pub(super) worker: u32,
    answers: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    asker: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(shop: &Shop) -> Result<Server> {
        let socket = shop.directory.join("socket");
        let mut gunicorn = command(&shop.python);
        gunicorn.args(["-m", "gunicorn", "--workers", "1", "--log-level", "error", "--bind"]);
        gunicorn.arg(format!("unix:{}", socket.display())).arg("shop:application");
        gunicorn.env("PYTHONPATH", shop.directory.join(PACKAGES)).env("PYTHONDONTWRITEBYTECODE", "1");
        gunicorn.current_dir(&shop.directory).stdin(Stdio::null());
        let child = gunicorn.spawn().context("failed to start gunicorn")?;
        let (answers, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut server = Server { child, worker: 0, answers, stop, asker: None };
        let deadline = Instant::now() + START;
        while let Err(error) = ask(&socket) {
            if Instant::now() > deadline {
                bail!("gunicorn does not answer: {error}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let children = format!("/proc/{0}/task/{0}/children", server.child.id());
        let children = fs::read_to_string(&children).context("failed to read the children of gunicorn")?;
        server.worker =
            children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("no worker")?;
        let (answers, stop) = (Arc::clone(&server.answers), Arc::clone(&server.stop));
        server.asker = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match ask(&socket) {
                    Ok(()) => drop(answers.fetch_add(1, Ordering::Relaxed)),
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        }));
        Ok(server)
    }

    /// Answers per second, now.
    pub(super) fn rate(&self) -> Result<f64> {
        let (before, began) = (self.answers.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(MEASURE);
        let answers = self.answers.load(Ordering::Relaxed) - before;
        if answers == 0 {
            bail!("the shop does not answer");
        }
        Ok(answers as f64 / began.elapsed().as_secs_f64())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(asker) = self.asker.take() {
            let _ = asker.join();
        }
        // SAFETY: takes numbers only; the child is ours and not waited for yet. Its worker ends with it.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let _ = self.child.wait();
    }
}

/// One page of the shop.
fn ask(socket: &Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(START))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: shop\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    match answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200") {
        true => Ok(()),
        false => Err(std::io::ErrorKind::InvalidData.into()),
    }
}
