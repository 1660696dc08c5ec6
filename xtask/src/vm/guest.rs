//! What runs inside: the first process mounts what every host has, a child of it goes through the plan, and then the machine
//! stops. Everything is said on the console.

use std::ffi::CString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::kernels::SERIES;
use super::plan::{MATRIX_OF_OTHERS, PLAN, Plan, Step};
use super::verifier;
use crate::matrix;

/// Before each line that is meant for whoever started the machine.
pub(super) const MARK: &str = "@vm ";

#[derive(Serialize, Deserialize)]
pub(super) enum Said {
    /// A step begins.
    Step { name: String },
    /// What the verifier counted.
    Verified { program: String, instructions: u64 },
    /// A step ended: whether all was right, else how it ended.
    Done { name: String, failure: Option<String>, seconds: f64 },
    /// The last word.
    End,
}

fn say(said: &Said) {
    if let Ok(text) = serde_json::to_string(said) {
        println!("{MARK}{text}");
    }
}

pub(crate) fn guest() -> Result<()> {
    // SAFETY: getpid takes nothing and cannot fail.
    if unsafe { libc::getpid() } != 1 {
        return go_through(Path::new(PLAN));
    }
    // Nobody else will say what went wrong.
    if let Err(error) = init() {
        println!("vm-guest: {error:#}");
    }
    // SAFETY: sync takes nothing; reboot ends this machine, which is ours alone.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_AUTOBOOT);
    }
    Ok(())
}

const MOUNTS: [(&str, &str); 7] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("tracefs", "/sys/kernel/tracing"),
    ("cgroup2", "/sys/fs/cgroup"),
];

fn init() -> Result<()> {
    for (kind, place) in MOUNTS {
        mount(kind, place).with_context(|| format!("failed to mount {kind}"))?;
    }
    let own = fs::read_link("/proc/self/exe").context("failed to find this program")?;
    let runner = Command::new(own).arg("vm-guest").spawn().context("failed to start")?;
    // Whatever loses its parent becomes ours, and has to be waited for.
    loop {
        // SAFETY: a null status is allowed.
        let pid = unsafe { libc::wait(std::ptr::null_mut()) };
        if pid == runner.id() as i32 || pid < 0 {
            return Ok(());
        }
    }
}

fn mount(kind: &str, place: &str) -> Result<()> {
    fs::create_dir_all(place)?;
    let (kind, place) = (CString::new(kind)?, CString::new(place)?);
    // SAFETY: strings with an end; no data.
    let done = unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    if done != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

fn go_through(plan: &Path) -> Result<()> {
    let text = fs::read(plan).with_context(|| format!("failed to read {}", plan.display()))?;
    let mut plan: Plan = serde_json::from_slice(&text).context("failed to read the plan")?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("failed to ask the kernel")?;
    if !release.starts_with(SERIES[0].name) {
        plan.env.insert(matrix::JUDGE.list.to_owned(), MATRIX_OF_OTHERS.to_owned());
    }
    for step in &plan.steps {
        say(&Said::Step { name: step.name.clone() });
        let started = Instant::now();
        let failure = take(step, &plan).map_err(|error| format!("{error:#}")).err();
        say(&Said::Done { name: step.name.clone(), failure, seconds: started.elapsed().as_secs_f64() });
    }
    say(&Said::End);
    Ok(())
}

fn take(step: &Step, plan: &Plan) -> Result<()> {
    let _beside = match step.beside.split_first() {
        Some((program, args)) => {
            Some(Beside(Command::new(program).args(args).spawn().context("failed to start")?))
        }
        None => None,
    };
    let mut command = Command::new(&step.program);
    command.args(&step.args).envs(&plan.env).stdin(Stdio::null()).process_group(0);
    if step.is_counted {
        let (counts, status) = verifier::watch(&mut command)?;
        anyhow::ensure!(status.success(), "{status}");
        for (program, instructions) in counts {
            say(&Said::Verified { program, instructions });
        }
        return Ok(());
    }
    let mut child = command.spawn().with_context(|| format!("failed to start {}", step.program.display()))?;
    let status = wait(&mut child, Duration::from_secs(step.limit_s))?;
    anyhow::ensure!(status.success(), "{status}");
    Ok(())
}

/// Ends with its owner.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<std::process::ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("failed to wait")? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // SAFETY: the group of our own child, not yet waited for.
    unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
    child.wait().context("failed to wait")?;
    anyhow::bail!("not done after {} s", limit.as_secs())
}
