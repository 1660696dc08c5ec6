//! One kernel under qemu, until the guest has said everything or a limit is reached. The serial console is the only way out;
//! what the guest means for us stands on lines of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::arch::Arch;
use super::guest::{MARK, Said};
use super::image::INIT;
use super::kernels::Kernel;
use super::report::Report;
use crate::util::command;

/// Memory of the guest: the initramfs is in it twice while it is unpacked.
const MEMORY: &str = "3G";
/// Two, so that programs run on several processors at once.
const CPUS: &str = "2";

pub(super) struct Machine {
    pub(super) arch: &'static Arch,
    pub(super) qemu: PathBuf,
    pub(super) image: PathBuf,
    pub(super) kvm: bool,
}

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    /// What is said goes into files in `logs`, one per check.
    pub(super) fn boot(&self, kernel: &Kernel, logs: &Path, report: &mut Report) -> Result<()> {
        let &Arch { machine, cpu, console, limit, .. } = self.arch;
        let mut log = create(logs, "boot")?;
        let mut qemu = command(&self.qemu);
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
        qemu.args(["-machine", machine, "-cpu", cpu, "-m", MEMORY, "-smp", CPUS]);
        qemu.args(["-accel", if self.kvm { "kvm" } else { "tcg,thread=multi" }]);
        qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&self.image);
        // Of the kernel's own messages only the worst; a panic ends the machine.
        let line = format!("console={console} panic=-1 oops=panic loglevel=3 rdinit={INIT} -- vm-guest");
        qemu.arg("-append").arg(line);
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut running = Running(qemu.spawn().context("failed to start qemu")?);
        let lines = lines(&mut running.0)?;
        let deadline = Instant::now() + limit;
        loop {
            let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => bail!("nothing more after {} s", limit.as_secs()),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the machine ended before the guest had: see the log")
                }
            };
            let said = said(&line)?;
            if let Some(Said::Step { name }) = &said {
                log = create(logs, name)?;
            }
            writeln!(log, "{line}").context("failed to write the log")?;
            if matches!(said, Some(Said::End)) {
                return Ok(());
            }
            report.hear(&line, said);
        }
    }
}

fn create(logs: &Path, name: &str) -> Result<File> {
    let file = logs.join(format!("{name}.log"));
    File::create(&file).with_context(|| format!("failed to create {}", file.display()))
}

/// What a line means for us, if it does. The kernel may have left a line unfinished before it.
pub(super) fn said(line: &str) -> Result<Option<Said>> {
    let Some((_, text)) = line.split_once(MARK) else { return Ok(None) };
    serde_json::from_str(text).map(Some).with_context(|| format!("the guest said {text:?}"))
}

fn lines(qemu: &mut Child) -> Result<Receiver<String>> {
    let mut console = BufReader::new(qemu.stdout.take().context("no console")?);
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        while console.read_until(b'\n', &mut bytes).is_ok_and(|read| read != 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if send.send(line).is_err() {
                return;
            }
        }
    });
    Ok(receive)
}
