//! A control group with limits, so that a test with thousands of threads cannot take the host with it.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pyprof_host::Held;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Goes with its owner, or with the next run of the tests; what still runs in it is waited for a little.
pub struct Limits(Vec<(PathBuf, Held)>);

impl Limits {
    /// As many tasks and as much memory as this at most, in whatever hierarchies the host has for it (v1, v2, hybrid).
    pub fn new(name: &str, tasks: u32, memory_bytes: u64) -> Limits {
        let roots: &[(&str, &str, &str)] = if Path::new("/sys/fs/cgroup/pids").exists() {
            &[("/sys/fs/cgroup/pids", "pids.max", ""), ("/sys/fs/cgroup/memory", "", "memory.limit_in_bytes")]
        } else {
            &[("/sys/fs/cgroup", "pids.max", "memory.max")]
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut limits = Limits(Vec::new());
        for (root, tasks_file, memory_file) in roots {
            let path = Path::new(root).join(format!("pyprof-test-{name}-{}-{number}", std::process::id()));
            let held = pyprof_host::group(&path).unwrap_or_else(|error| panic!("{error:#}"));
            limits.0.push((path.clone(), held));
            for (file, value) in [(tasks_file, u64::from(tasks)), (memory_file, memory_bytes)] {
                if !file.is_empty() {
                    let file = path.join(file);
                    std::fs::write(&file, value.to_string())
                        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                }
            }
        }
        limits
    }

    /// From now on the process, with all threads and children that it makes, is in the group.
    pub fn add(&self, pid: u32) {
        for (path, _) in &self.0 {
            std::fs::write(path.join("cgroup.procs"), pid.to_string()).expect("root moves processes");
        }
    }

    /// Ends all that is in the group, also what makes new processes meanwhile.
    pub fn kill(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let path = self.0[0].0.join("cgroup.procs");
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            if pids.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{}: {pids:?}", path.display());
            for pid in pids {
                // SAFETY: a process of this group.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
    }

    /// The command will begin in the group: nothing that it makes can be too early for [`Limits::add`].
    pub fn enter(&self, command: &mut Command) {
        let open = |(path, _): &(PathBuf, Held)| {
            let file = path.join("cgroup.procs");
            File::options()
                .write(true)
                .open(&file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        };
        let mut files: Vec<File> = self.0.iter().map(open).collect();
        // SAFETY: between fork and exec there are only writes to files that are open; 0 means the writer.
        unsafe {
            command.pre_exec(move || files.iter_mut().try_for_each(|file| file.write_all(b"0")));
        }
    }
}
