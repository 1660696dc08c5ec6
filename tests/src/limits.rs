//! A control group with limits, so that a test with thousands of threads cannot take the host with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Goes with its owner; what still runs in it is waited for a little.
pub struct Limits(Vec<PathBuf>);

impl Limits {
    /// As many tasks and as much memory as this at most, in whatever hierarchies the host has for it (v1, v2, hybrid).
    pub fn new(name: &str, tasks: u32, memory_bytes: u64) -> Limits {
        let roots: &[(&str, &str, &str)] = if Path::new("/sys/fs/cgroup/pids").exists() {
            &[("/sys/fs/cgroup/pids", "pids.max", ""), ("/sys/fs/cgroup/memory", "", "memory.limit_in_bytes")]
        } else {
            &[("/sys/fs/cgroup", "pids.max", "memory.max")]
        };
        let mut limits = Limits(Vec::new());
        for (root, tasks_file, memory_file) in roots {
            let path = Path::new(root).join(format!("pyprof-test-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            limits.0.push(path.clone());
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
        for path in &self.0 {
            std::fs::write(path.join("cgroup.procs"), pid.to_string()).expect("root moves processes");
        }
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        for path in &self.0 {
            while std::fs::remove_dir(path).is_err() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
