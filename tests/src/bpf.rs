//! What a process holds of BPF: its programs, maps and links, and the entries of its maps, as the kernel has them (`include/uapi/linux/bpf.h`, `bpf(2)`).

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const MAP_GET_NEXT_KEY: libc::c_int = 4;
const PROG_GET_NEXT_ID: libc::c_int = 11;
const MAP_GET_NEXT_ID: libc::c_int = 12;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const MAP_GET_FD_BY_ID: libc::c_int = 14;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const LINK_GET_NEXT_ID: libc::c_int = 31;
/// The line of `/proc/PID/fdinfo/FD` that names an object, and the command that finds the next one.
const KINDS: [(&str, libc::c_int); 3] =
    [("prog_id:", PROG_GET_NEXT_ID), ("map_id:", MAP_GET_NEXT_ID), ("link_id:", LINK_GET_NEXT_ID)];
/// `BPF_MAP_TYPE_HASH`, `BPF_MAP_TYPE_LRU_HASH`
const HASHES: [u32; 2] = [1, 9];
const MAX_KEY_BYTES: usize = 64;
/// More than any map of ours holds.
const MAX_ENTRIES: usize = 1 << 20;

/// `union bpf_attr` as the three commands see it: the longest is 24 bytes.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    first: u32,
    second: u32,
    third: u64,
    fourth: u64,
}

/// The head of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: u32,
    name: [u8; 16],
}

fn bpf(command: libc::c_int, attributes: &mut Attributes) -> libc::c_long {
    // SAFETY: a valid structure of the size that is stated; the pointers in it are to memory of the caller.
    unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<Attributes>()) }
}

fn open(id: u32) -> Option<OwnedFd> {
    let fd = bpf(MAP_GET_FD_BY_ID, &mut Attributes { first: id, ..Attributes::default() });
    // SAFETY: just opened, and nobody else's.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn info(map: &OwnedFd) -> Info {
    let mut info = Info::default();
    let fd = map.as_raw_fd() as u32;
    let mut attributes =
        Attributes { first: fd, second: size_of::<Info>() as u32, third: (&raw mut info) as u64, fourth: 0 };
    assert_eq!(bpf(OBJ_GET_INFO_BY_FD, &mut attributes), 0, "{}", std::io::Error::last_os_error());
    info
}

fn entries(map: &OwnedFd, key_bytes: u32) -> usize {
    assert!(key_bytes as usize <= MAX_KEY_BYTES);
    let (mut key, mut next) = ([0_u8; MAX_KEY_BYTES], [0_u8; MAX_KEY_BYTES]);
    for count in 0..MAX_ENTRIES {
        // Without a key, the first. One that is removed meanwhile leads back to the first: good enough for a bound.
        let from = if count == 0 { 0 } else { (&raw const key) as u64 };
        let mut attributes = Attributes {
            first: map.as_raw_fd() as u32,
            third: from,
            fourth: (&raw mut next) as u64,
            ..Attributes::default()
        };
        if bpf(MAP_GET_NEXT_KEY, &mut attributes) != 0 {
            return count;
        }
        key = next;
    }
    MAX_ENTRIES
}

/// Name and number of entries of each hash map that the process holds open (`/proc/PID/fdinfo`, `map_id`).
pub fn of(pid: u32) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it runs").flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse().ok());
        let Some(map) = id.and_then(open) else { continue };
        let info = info(&map);
        if HASHES.contains(&info.kind) {
            let name =
                info.name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
            found.insert(name, entries(&map, info.key_bytes));
        }
    }
    found
}

/// Where a program's name and the number of its functions are in `struct bpf_prog_info`, and how much of that is asked for.
const PROG_NAME: usize = 64;
const PROG_FUNCTIONS: usize = 108;
const PROG_INFO_BYTES: usize = 128;

/// Name and number of functions, compiled by the kernel, of each program that the process holds open.
pub fn functions_of(pid: u32) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for Object { id, .. } in objects_of(pid).into_iter().filter(|object| object.kind == 0) {
        let fd = bpf(PROG_GET_FD_BY_ID, &mut Attributes { first: id, ..Attributes::default() });
        if fd < 0 {
            continue;
        }
        // SAFETY: just opened, and nobody else's.
        let program = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let mut info = [0_u8; PROG_INFO_BYTES];
        let mut attributes = Attributes {
            first: program.as_raw_fd() as u32,
            second: PROG_INFO_BYTES as u32,
            third: info.as_mut_ptr() as u64,
            fourth: 0,
        };
        assert_eq!(bpf(OBJ_GET_INFO_BY_FD, &mut attributes), 0, "{}", std::io::Error::last_os_error());
        let name = info[PROG_NAME..].iter().take(16).take_while(|byte| **byte != 0);
        let count = info[PROG_FUNCTIONS..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        found.insert(name.map(|byte| char::from(*byte)).collect(), count);
    }
    found
}

/// A program, map or link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Object {
    kind: usize,
    id: u32,
}

impl Object {
    /// Whether the kernel still has it. It is not opened for that: a program array that is opened and closed again while it is
    /// being freed stays for ever (`prog_array_map_clear` takes a reference for work that is under way already).
    pub fn exists(self) -> bool {
        let mut attributes = Attributes { first: self.id - 1, ..Attributes::default() };
        if bpf(KINDS[self.kind].1, &mut attributes) != 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{self:?}: {error}");
            return false;
        }
        attributes.second == self.id
    }
}

/// All that the process holds now; nothing of one that is gone.
pub fn objects_of(pid: u32) -> Vec<Object> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten();
    for entry in entries.flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for (kind, (name, _)) in KINDS.iter().enumerate() {
            let ids = text.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            found.extend(ids.map(|id| Object { kind, id }));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
