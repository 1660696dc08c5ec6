//! What of the host is not as the tests need it, and how it is put right.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::change::write;
use crate::mark::{Stray, pids, strays};
use crate::{Change, Journal, Owner};

/// In this order: writing the second is refused while the first is 0 or 100 (`perf_event_max_sample_rate_handler`,
/// `kernel/events/core.c`). The values are those that the kernel begins with (`DEFAULT_CPU_TIME_MAX_PERCENT`,
/// `DEFAULT_MAX_SAMPLE_RATE`, there).
const SETTINGS: [(&str, u64); 2] =
    [("kernel/perf_cpu_time_max_percent", 25), ("kernel/perf_event_max_sample_rate", 100_000)];

/// The name that everything of ours has where it is pinned.
const PINNED: &str = "pyprof";
/// What the kernel calls a process that samples: the program's name.
const CAPTURE: &str = "pyprof-bpf";

pub enum Fault {
    Stray(Stray),
    Left(Change),
    Pinned(PathBuf),
    Setting {
        file: PathBuf,
        is: String,
        begins_as: u64,
    },
    Offline {
        cpu: u32,
        file: PathBuf,
    },
    /// It may be anybody's, and is left alone.
    Capture {
        pid: u32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Stray(stray) => stray.fmt(f),
            Fault::Left(change) => change.fmt(f),
            Fault::Pinned(path) => write!(f, "pinned BPF object: {}", path.display()),
            Fault::Setting { file, is, begins_as } => {
                write!(f, "setting: {} is {is}, and the kernel begins with {begins_as}", file.display())
            }
            Fault::Offline { cpu, .. } => write!(f, "CPU {cpu} is offline"),
            Fault::Capture { pid } => write!(f, "capture by somebody else, left alone: process {pid}"),
        }
    }
}

impl Fault {
    pub fn is_left_alone(&self) -> bool {
        matches!(self, Fault::Capture { .. })
    }

    fn pid(&self) -> Option<u32> {
        match self {
            Fault::Stray(stray) => Some(stray.pid()),
            Fault::Capture { pid } => Some(*pid),
            _ => None,
        }
    }
}

/// What earlier runs have left. Needs root.
fn ours() -> Result<Vec<Fault>> {
    let mut faults: Vec<Fault> = strays().into_iter().map(Fault::Stray).collect();
    faults.extend(Journal::of_host().left()?.into_iter().map(Fault::Left));
    faults.extend(pinned(Path::new("/")).into_iter().map(Fault::Pinned));
    Ok(faults)
}

/// What is otherwise than a kernel begins with, whoever did it.
fn of_host(root: &Path) -> Vec<Fault> {
    settings(root).chain(offline(root)).collect()
}

fn captures() -> impl Iterator<Item = Fault> {
    let is_capture = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == CAPTURE)
    };
    // A zombie has the name still.
    pids().filter(is_capture).filter(|pid| Owner::of(*pid).is_some()).map(|pid| Fault::Capture { pid })
}

/// All that is not as it should be.
pub fn look() -> Result<Vec<Fault>> {
    let mut faults = ours()?;
    faults.extend(of_host(Path::new("/")));
    let stray: BTreeSet<u32> = faults.iter().filter_map(Fault::pid).collect();
    faults.extend(captures().filter(|capture| capture.pid().is_none_or(|pid| !stray.contains(&pid))));
    Ok(faults)
}

/// Something that was found, and what became of it.
pub type Mended = (Fault, Result<()>);

/// Puts right what earlier runs have left. First the processes, which might change more.
pub fn restore_ours() -> Result<Vec<Mended>> {
    let mut mended = end_strays();
    let left = Journal::of_host().restore()?;
    mended.extend(left.into_iter().map(|(change, result)| (Fault::Left(change), result)));
    mended.extend(pinned(Path::new("/")).into_iter().map(unpin));
    Ok(mended)
}

/// What makes new processes while they are ended has ten rounds.
fn end_strays() -> Vec<Mended> {
    let mut mended: Vec<Mended> = Vec::new();
    for _ in 0..10 {
        let is_new = |stray: &Stray| mended.iter().all(|(known, _)| known.pid() != Some(stray.pid()));
        // A second look finds again what could not be ended.
        let found: Vec<Stray> = strays().into_iter().filter(is_new).collect();
        if found.is_empty() {
            break;
        }
        for stray in found {
            let result = stray.end();
            mended.push((Fault::Stray(stray), result));
        }
    }
    mended
}

fn unpin(path: PathBuf) -> Mended {
    let is_directory = path.symlink_metadata().is_ok_and(|is| is.is_dir());
    let removed = if is_directory { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    let result = removed.with_context(|| format!("failed to remove {}", path.display()));
    (Fault::Pinned(path), result)
}

/// The same, and then what else is otherwise than the kernel begins with.
pub fn restore() -> Result<Vec<Mended>> {
    let mut mended = restore_ours()?;
    mended.extend(of_host(Path::new("/")).into_iter().map(put_right));
    mended.extend(captures().map(|capture| (capture, Ok(()))));
    Ok(mended)
}

/// What a kernel begins with.
fn put_right(fault: Fault) -> Mended {
    let result = match &fault {
        Fault::Setting { file, begins_as, .. } => write(file, &begins_as.to_string()),
        Fault::Offline { file, .. } => write(file, "1"),
        Fault::Stray(_) | Fault::Left(_) | Fault::Pinned(_) | Fault::Capture { .. } => Ok(()),
    };
    (fault, result)
}

fn settings(root: &Path) -> impl Iterator<Item = Fault> {
    let proc = root.join("proc/sys");
    SETTINGS.into_iter().filter_map(move |(name, begins_as)| {
        let file = proc.join(name);
        // A kernel without perf events has none.
        let is = std::fs::read_to_string(&file).ok()?.trim().to_owned();
        (is != begins_as.to_string()).then_some(Fault::Setting { file, is, begins_as })
    })
}

/// Of the CPUs that there are, those that can be switched on. Hyperthreads that are off by choice are not among them.
fn offline(root: &Path) -> Vec<Fault> {
    let cpus = root.join("sys/devices/system/cpu");
    let list = |name: &str| range(&std::fs::read_to_string(cpus.join(name)).unwrap_or_default());
    if std::fs::read_to_string(cpus.join("smt/control")).is_ok_and(|control| control.contains("off")) {
        return Vec::new();
    }
    let (present, online) = (list("present"), list("online"));
    let off = present.difference(&online).copied();
    let with_switch = off.map(|cpu| (cpu, cpus.join(format!("cpu{cpu}/online"))));
    with_switch.filter(|(_, file)| file.exists()).map(|(cpu, file)| Fault::Offline { cpu, file }).collect()
}

/// `0-2,5` (`Documentation/admin-guide/cputopology.rst`).
fn range(text: &str) -> BTreeSet<u32> {
    let parts = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    parts.flatten().collect()
}

fn pinned(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("sys/fs/bpf")).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PINNED));
    ours.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree like a host's, with these files in it.
    fn host(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("pyprof-look-{name}-{}", std::process::id()));
        for (file, text) in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn what_a_kernel_begins_with_is_no_fault_and_all_else_goes_back() {
        let cpus = "sys/devices/system/cpu";
        let root = host(
            "bad",
            &[
                ("proc/sys/kernel/perf_event_max_sample_rate", "100\n"),
                ("proc/sys/kernel/perf_cpu_time_max_percent", "0\n"),
                (&format!("{cpus}/present"), "0-3\n"),
                (&format!("{cpus}/online"), "0,2\n"),
                (&format!("{cpus}/cpu1/online"), "0\n"),
                // It cannot be switched.
                (&format!("{cpus}/cpu0/topology"), ""),
            ],
        );
        let found = of_host(&root);
        let said: Vec<String> = found.iter().map(Fault::to_string).collect();
        let kernel = root.join("proc/sys/kernel");
        assert_eq!(
            said,
            [
                format!(
                    "setting: {}/perf_cpu_time_max_percent is 0, and the kernel begins with 25",
                    kernel.display()
                ),
                format!(
                    "setting: {}/perf_event_max_sample_rate is 100, and the kernel begins with 100000",
                    kernel.display()
                ),
                "CPU 1 is offline".to_owned(),
            ]
        );
        assert!(found.into_iter().map(put_right).all(|(_, result)| result.is_ok()));
        assert_eq!(
            std::fs::read_to_string(kernel.join("perf_event_max_sample_rate")).expect("a file"),
            "100000"
        );
        assert_eq!(std::fs::read_to_string(root.join(cpus).join("cpu1/online")).expect("a file"), "1");
        std::fs::write(root.join(cpus).join("online"), "0-1").expect("a file");
        assert!(of_host(&root).is_empty());
        // Half of all CPUs are hyperthreads, and off.
        std::fs::write(root.join(cpus).join("online"), "0").expect("a file");
        assert_eq!(of_host(&root).len(), 1);
        std::fs::create_dir_all(root.join(cpus).join("smt")).expect("a directory");
        std::fs::write(root.join(cpus).join("smt/control"), "forceoff\n").expect("a file");
        assert!(of_host(&root).is_empty());
        std::fs::remove_dir_all(root).expect("ours");
    }

    #[test]
    fn only_what_has_our_name_is_ours_where_objects_are_pinned() {
        let root = host(
            "pinned",
            &[("sys/fs/bpf/pyprof/map", ""), ("sys/fs/bpf/pyprof-map", ""), ("sys/fs/bpf/theirs", "")],
        );
        let mut found = pinned(&root);
        found.sort();
        assert_eq!(found, ["sys/fs/bpf/pyprof", "sys/fs/bpf/pyprof-map"].map(|path| root.join(path)));
        assert!(found.into_iter().map(unpin).all(|(_, result)| result.is_ok()));
        assert!(pinned(&root).is_empty() && root.join("sys/fs/bpf/theirs").exists());
        std::fs::remove_dir_all(root).expect("ours");
    }

    #[test]
    fn lists_of_cpus_are_read() {
        for (text, expected) in
            [("0-3\n", &[0, 1, 2, 3][..]), ("0,2-3", &[0, 2, 3]), ("7", &[7]), ("\n", &[]), ("x-1", &[])]
        {
            assert_eq!(range(text), expected.iter().copied().collect(), "{text:?}");
        }
    }
}
