//! Requests to the web server, from connections that each wait for their answer before they ask again, and how long each
//! answer took.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const CONNECTIONS: usize = 4;
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    answered: Mutex<Vec<(Instant, Duration)>>,
    failed: Mutex<Option<String>>,
}

/// Answers of one window.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

impl Load {
    pub fn start(socket: PathBuf) -> Result<Load> {
        ask(&socket).context("the server does not answer")?;
        let shared = Arc::new(Shared::default());
        let one = |_| {
            let (shared, socket) = (Arc::clone(&shared), socket.clone());
            std::thread::spawn(move || shared.work(&socket))
        };
        Ok(Load { threads: (0..CONNECTIONS).map(one).collect(), shared })
    }

    /// The answers that came between two moments.
    pub fn between(&self, begin: Instant, end: Instant) -> Result<Latency> {
        if let Some(why) = self.shared.failed.lock().ok().and_then(|failed| failed.clone()) {
            anyhow::bail!("a request failed: {why}");
        }
        let answered = self.shared.answered.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        let those = answered.iter().filter(|(at, _)| (begin..end).contains(at));
        let mut times: Vec<Duration> = those.map(|(_, took)| *took).collect();
        ensure!(!times.is_empty(), "no request was answered");
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let seconds = end.duration_since(begin).as_secs_f64();
        Ok(Latency { per_second: times.len() as f64 / seconds, p50: at(0.5), p99: at(0.99) })
    }
}

impl Shared {
    fn work(&self, socket: &Path) {
        while !self.ends.load(Ordering::Relaxed) {
            let begin = Instant::now();
            let asked = ask(socket);
            let end = Instant::now();
            match asked {
                Ok(()) => {
                    if let Ok(mut answered) = self.answered.lock() {
                        answered.push((end, end.duration_since(begin)));
                    }
                }
                Err(error) => {
                    if let Ok(mut failed) = self.failed.lock() {
                        failed.get_or_insert(format!("{error:#}"));
                    }
                    return;
                }
            }
        }
    }
}

/// One request on a connection of its own, as gunicorn's plain workers serve it.
fn ask(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let status = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    ensure!(status.ends_with(b" 200 OK"), "the server said {:?}", String::from_utf8_lossy(status));
    Ok(())
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A client that panicked has said so already.
            let _ = thread.join();
        }
    }
}
