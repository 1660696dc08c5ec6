//! Which container, pod and systemd unit a process belongs to, as the names of its control groups tell.
//!
//! Runtimes agree on no scheme, so the innermost element of a path that holds a container id decides. UUIDs are no ids:
//! desktop terminals put each of their tabs into a `vte-spawn-UUID.scope`.

use std::fs::File;
use std::io::{self, Read};

/// A dozen hierarchies with a path of at most `PATH_MAX` each (`proc_cgroup_show`, `kernel/cgroup/cgroup.c`).
const MAX_CGROUP_BYTES: u64 = 64 << 10;
/// As long as the value of a tag may be where such labels are used most.
pub(super) const MAX_LABEL_CHARS: usize = 200;

/// What control groups say of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// 64 hexadecimal digits, or what the runtime has instead: ECS a task and a number, LXC a name.
    pub container_id: Option<String>,
    /// As Kubernetes writes it; 32 hexadecimal digits for a static pod.
    pub pod_uid: Option<String>,
    /// The service or scope that systemd started it in: the one inside of the container, if it is in one.
    pub unit: Option<String>,
}

/// The control groups of a live process. `task` may be any live thread of it.
pub fn cgroup(task: u32) -> io::Result<Cgroup> {
    Ok(parse(&String::from_utf8_lossy(&read(task)?)))
}

/// Where it is in each hierarchy. `task` may be any live thread of it.
pub fn paths(task: u32) -> io::Result<Vec<String>> {
    Ok(paths_in(&String::from_utf8_lossy(&read(task)?)))
}

fn paths_in(text: &str) -> Vec<String> {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let mut paths: Vec<String> = text.split('\n').filter_map(path).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn read(task: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{task}/cgroup"))?.take(MAX_CGROUP_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the text of `/proc/PID/cgroup`.
pub fn parse(text: &str) -> Cgroup {
    // Not `lines`, which takes a carriage return for a part of the line's end: here it is one of a name.
    let mut lines: Vec<(u8, Vec<&str>)> = text.split('\n').filter_map(line).collect();
    // Stable: hierarchies of the same rank stay in the kernel's order.
    lines.sort_by_key(|(rank, _)| *rank);
    let mut cgroup = Cgroup::default();
    for (_, path) in &lines {
        let container = path.iter().enumerate().rev().find_map(|(at, _)| Some((at, container_id(path, at)?)));
        if let Some((at, id)) = container {
            // The unit of the path above is that of the runtime, which tells nothing of this process.
            return Cgroup {
                container_id: Some(capped(id)),
                pod_uid: path.iter().rev().find_map(|element| pod_uid(element)),
                unit: unit(&path[at + 1..]),
            };
        }
        // A hierarchy that a container runtime left alone shows the unit of the runtime, so a later one may know more.
        cgroup.pod_uid = cgroup.pod_uid.or_else(|| path.iter().rev().find_map(|element| pod_uid(element)));
        cgroup.unit = cgroup.unit.or_else(|| unit(path));
    }
    cgroup
}

/// `ID:CONTROLLERS:PATH` as a rank and the elements of the path. On a hybrid host the unified hierarchy, which comes
/// first where it says something, often says nothing, and systemd's own and that of the memory limit do.
fn line(line: &str) -> Option<(u8, Vec<&str>)> {
    let mut fields = line.splitn(3, ':').skip(1);
    let rank = match fields.next()? {
        "" => 0,
        "name=systemd" => 1,
        "memory" => 2,
        _ => 3,
    };
    // The kernel marks a group that was removed under a process (unified hierarchy only).
    let path = fields.next()?;
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    // `..` leads out of the profiler's own cgroup namespace; what is behind it reads as ever.
    let elements = path.split('/').filter(|element| !matches!(*element, "" | "." | ".."));
    Some((rank, elements.collect()))
}

fn container_id<'a>(path: &[&'a str], at: usize) -> Option<&'a str> {
    let element = *path.get(at)?;
    if let Some(name) = element.strip_prefix("lxc.payload.").filter(|name| !name.is_empty()) {
        return Some(name);
    }
    // Older LXC: `/lxc/NAME` and `/lxc.payload/NAME`.
    if at.checked_sub(1).is_some_and(|before| matches!(path[before], "lxc" | "lxc.payload")) {
        return Some(element);
    }
    // containerd under v1 without systemd: `SLICE:cri-containerd:ID`.
    let (_, last) = element.rsplit_once(':').unwrap_or(("", element));
    let last = last.strip_suffix(".scope").unwrap_or(last);
    let (prefix, id) = split_id(last)?;
    // conmon watches over a container from outside of it.
    (!prefix.contains("conmon")).then_some(id)
}

/// `docker-ID` as its prefix and its id: 64 hexadecimal digits, or 32 and a decimal number (ECS).
fn split_id(name: &str) -> Option<(&str, &str)> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let tail = |len: usize| {
        let start = name.len().checked_sub(len)?;
        let (prefix, id) = (name.get(..start)?, name.get(start..)?);
        // A prefix is a word and a dash; an id cut out of longer digits is none.
        (prefix.is_empty() || prefix.ends_with('-')).then_some((prefix, id))
    };
    if let Some(found) = tail(64).filter(|(_, id)| is_hex(id)) {
        return Some(found);
    }
    let (task, number) = name.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && task.len() == 32 && is_hex(task)).then_some(("", name))
}

/// `podUID`, `kubepods-burstable-podUID.slice`: the UID with dashes, though systemd's slices have underscores.
fn pod_uid(element: &str) -> Option<String> {
    let (first, _) = element.split_once(':').unwrap_or((element, ""));
    let name = first.strip_suffix(".slice").unwrap_or(first);
    let at = name.rfind("pod")?;
    if at > 0 && !name[..at].ends_with('-') {
        return None;
    }
    let uid = name[at + 3..].replace('_', "-");
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<&str> = uid.split('-').collect();
    let is_uuid = parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, len)| hex(part, len));
    (is_uuid || hex(&uid, 32)).then_some(uid)
}

/// The outermost service or scope, as systemd reads its own paths (`cg_path_get_unit` and `cg_path_get_user_unit`,
/// `src/basic/cgroup-util.c`): below it there may be groups that the service made for itself.
fn unit(path: &[&str]) -> Option<String> {
    let is_unit = |element: &&&str| element.ends_with(".service") || element.ends_with(".scope");
    let mut units = path.iter().filter(is_unit);
    let first = units.next()?;
    // A user's manager says no more than the user; what it started says more.
    let unit = if first.starts_with("user@") { units.next().unwrap_or(first) } else { first };
    // Names that could be mistaken for a file of the kernel's begin with an underscore (`cg_escape`).
    Some(capped(unit.strip_prefix('_').unwrap_or(unit)))
}

fn capped(text: &str) -> String {
    text.chars().take(MAX_LABEL_CHARS).collect()
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
