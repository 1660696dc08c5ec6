//! /proc/PID/maps, read within bounds: a target decides how many lines there are and what the names look like.

use std::fs::File;
use std::io::{self, Read};

/// The kernel's own default limit of mappings per process (`vm.max_map_count`) is 65,530.
const MAX_LINES: usize = 65_536;
const MAX_BYTES: u64 = 8 << 20;
const MAX_TASKS: usize = 4_096;

/// The text of a maps file and the task whose memory it describes.
pub struct Maps {
    text: Vec<u8>,
    /// The process itself, or a live thread of it where the leader is gone.
    pub task: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping<'a> {
    pub start: u64,
    pub limit: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    pub private: bool,
    pub offset: u64,
    /// Major and minor number as the kernel prints them; `st_dev` of the same file may differ (btrfs, overlayfs).
    pub device: (u32, u32),
    pub inode: u64,
    /// As printed: a newline is `\012`, a removed file ends in ` (deleted)`.
    pub path: &'a [u8],
}

impl Maps {
    /// Empty for a kernel thread.
    pub fn read(pid: u32) -> io::Result<Maps> {
        // Kernels differ in whether a process without memory has an empty list or none (`proc_mem_open`, fs/proc/base.c).
        let text = match read_bounded(&format!("/proc/{pid}/maps")) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Vec::new(),
            text => text?,
        };
        if !text.is_empty() {
            return Ok(Maps { text, task: pid });
        }
        // A leader that called pthread_exit has no memory any more, while its threads run on.
        for entry in std::fs::read_dir(format!("/proc/{pid}/task"))?.take(MAX_TASKS) {
            let name = entry?.file_name();
            let Some(task) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            if task != pid
                && let Ok(text) = read_bounded(&format!("/proc/{pid}/task/{task}/maps"))
                && !text.is_empty()
            {
                return Ok(Maps { text, task });
            }
        }
        Ok(Maps { text, task: pid })
    }

    /// The text of a maps file that somebody else has read.
    pub fn of(text: Vec<u8>, task: u32) -> Maps {
        Maps { text, task }
    }

    pub fn iter(&self) -> impl Iterator<Item = Mapping<'_>> {
        self.text.split(|&byte| byte == b'\n').take(MAX_LINES).filter_map(parse)
    }
}

fn read_bounded(path: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(16 << 10);
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// `55d0c8a00000-55d0c8a01000 r-xp 00001000 fe:00 1234   /usr/bin/python3.11` (`fs/proc/task_mmu.c`)
fn parse(line: &[u8]) -> Option<Mapping<'_>> {
    let mut rest = line;
    let mut word = || {
        let start = rest.iter().position(|&byte| byte != b' ')?;
        let word = &rest[start..];
        let end = word.iter().position(|&byte| byte == b' ').unwrap_or(word.len());
        rest = &word[end..];
        Some(&word[..end])
    };
    let (start, limit) = split(word()?, b'-')?;
    let flags: [u8; 4] = word()?.try_into().ok()?;
    let offset = hex(word()?)?;
    let (major, minor) = split(word()?, b':')?;
    let inode = std::str::from_utf8(word()?).ok()?.parse().ok()?;
    let path = rest.iter().position(|&byte| byte != b' ').map_or(&[][..], |start| &rest[start..]);
    (start < limit).then_some(Mapping {
        start,
        limit,
        readable: flags[0] == b'r',
        writable: flags[1] == b'w',
        executable: flags[2] == b'x',
        private: flags[3] == b'p',
        offset,
        device: (major.try_into().ok()?, minor.try_into().ok()?),
        inode,
        path,
    })
}

fn split(word: &[u8], at: u8) -> Option<(u64, u64)> {
    let middle = word.iter().position(|&byte| byte == at)?;
    Some((hex(&word[..middle])?, hex(&word[middle + 1..])?))
}

fn hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?, 16).ok()
}

/// The name of a mapped file as the file system has it, where the kernel's escape is not ambiguous.
pub fn unescape(path: &[u8]) -> Vec<u8> {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let mut name = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"\\012");
        name.push(if escaped.is_some() { b'\n' } else { first });
        rest = escaped.unwrap_or(tail);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_parse_or_are_left_out() {
        fn check(line: &str, expected: Option<(u64, u64, u64, u64, &str)>) {
            let found = parse(line.as_bytes());
            let found = found.map(|it| {
                (it.start, it.limit, it.offset, it.inode, String::from_utf8_lossy(it.path).into_owned())
            });
            let expected = expected.map(|(a, b, c, d, path)| (a, b, c, d, path.to_owned()));
            assert_eq!(found, expected, "{line}");
        }
        check("1000-2000 r-xp 00003000 fe:00 77     /a b", Some((0x1000, 0x2000, 0x3000, 77, "/a b")));
        check("1000-2000 r-xp 00003000 fe:00 77", Some((0x1000, 0x2000, 0x3000, 77, "")));
        check("1000-2000 rw-p 0 00:00 0 [heap]", Some((0x1000, 0x2000, 0, 0, "[heap]")));
        check(
            "1000-2000 r-xp 0 00:01 9 /x\\012y (deleted)",
            Some((0x1000, 0x2000, 0, 9, "/x\\012y (deleted)")),
        );
        check(
            "ffffffffff600000-ffffffffff601000 --xp 0 00:00 0 [vsyscall]",
            Some((0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000, 0, 0, "[vsyscall]")),
        );
        check("", None);
        check("2000-1000 r-xp 0 fe:00 1 /a", None);
        check("1000-2000 r-x 0 fe:00 1 /a", None);
        check("1000-2000 r-xp 0 fe:00 x /a", None);
        check("1000 r-xp 0 fe:00 1 /a", None);
        check("+1000-2000 r-xp 0 fe:00 1 /a", None);
        check("10000000000000000-2 r-xp 0 fe:00 1 /a", None);
    }

    #[test]
    fn names_lose_what_the_kernel_added() {
        for (printed, name) in [
            ("/a\\012b (deleted)", "/a\nb"),
            ("/a\\013", "/a\\013"),
            ("/a (deleted) (deleted)", "/a (deleted)"),
            ("/\\", "/\\"),
        ] {
            assert_eq!(unescape(printed.as_bytes()), name.as_bytes());
        }
    }

    #[test]
    fn own_maps_hold_this_code() {
        let here = own_maps_hold_this_code as *const () as u64;
        let maps = Maps::read(std::process::id()).unwrap();
        assert!(maps.iter().any(|it| it.executable && (it.start..it.limit).contains(&here)));
    }
}
