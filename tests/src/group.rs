//! Control groups by name, for what tells processes apart by them.

use std::path::{Path, PathBuf};

use pyprof_host::Held;

/// A control group of its own, in one hierarchy, named as an engine or systemd would name it.
pub struct Group {
    path: PathBuf,
    _held: Held,
}

impl Group {
    pub fn new(name: &str) -> Group {
        let root = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
            .into_iter()
            .find(|root| Path::new(root).join("cgroup.procs").exists());
        let path = Path::new(root.expect("control groups")).join(name);
        let held = pyprof_host::group(&path).unwrap_or_else(|error| panic!("{error:#}"));
        Group { path, _held: held }
    }

    pub fn add(&self, pid: u32) {
        std::fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("root moves processes");
    }

    /// Moves a process to the group above.
    pub fn put_out(&self, pid: u32) {
        let above = self.path.parent().expect("a group above").join("cgroup.procs");
        std::fs::write(above, pid.to_string()).expect("root moves processes");
    }

    pub fn path(&self) -> String {
        self.path.to_str().expect("text").to_owned()
    }

    /// As /proc/PID/cgroup shows it.
    pub fn in_hierarchy(&self) -> String {
        let path = self.path();
        path.trim_start_matches("/sys/fs/cgroup").trim_start_matches("/pids").to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes may outlive it.
        pyprof_host::empty(&self.path);
    }
}
