//! Names of files: built from what a target calls itself, so nothing of it is trusted.

use crate::utc;
use hashbrown::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Longest part of a file name that a target chooses, in bytes: names stay far below the 255 of file systems.
const MAX_NAME_BYTES: usize = 64;

/// `./pyprof-HOST-UTCTIME`.
pub fn default_directory(host: &str, start_unix_ns: u64) -> PathBuf {
    let host = if host.is_empty() { "host".into() } else { sanitise(host) };
    PathBuf::from(format!("./pyprof-{host}-{}", utc::compact(start_unix_ns)))
}

/// What stands before the ending that a format has: `NAME-PID` for the first image of a pid, `NAME-PID.2` for the second.
pub fn file_stem(name: &str, pid: u32, image: u32) -> String {
    let name = sanitise(name);
    if image > 1 { format!("{name}-{pid}.{image}") } else { format!("{name}-{pid}") }
}

/// The file beside `path` with what another source found: `x.html` and the ending `.html` give `x.KIND.html`.
pub fn of_kind(path: &Path, ending: &str, kind: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(ending).unwrap_or(&name);
    path.with_file_name(format!("{stem}.{kind}{ending}"))
}

/// The same for files that hold several processes: `NAME`, and `NAME.2` where another group got that name.
#[derive(Default)]
pub struct GroupNames {
    taken: HashSet<String>,
    /// The last number of each name, so that ten thousand groups of one name are not tried one by one.
    numbers: HashMap<String, u32>,
}

impl GroupNames {
    pub fn next(&mut self, name: &str) -> String {
        let name = sanitise(name);
        let number = self.numbers.entry(name.clone()).or_insert(0);
        loop {
            *number = number.saturating_add(1);
            let stem = match *number {
                1 => name.clone(),
                number => format!("{name}.{number}"),
            };
            if self.taken.insert(stem.clone()) {
                return stem;
            }
        }
    }
}

/// A name of letters, digits, dots, dashes and underscores that no tool takes for an option or a hidden file.
pub fn sanitise(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let mut clean: String = name.chars().take(MAX_NAME_BYTES).map(keep).collect();
    if clean.starts_with(['.', '-']) {
        clean.replace_range(..1, "_");
    }
    if clean.is_empty() { "python".into() } else { clean }
}

/// Counts the images of each pid: an exec or a pid that came back must not overwrite the file of the one before.
#[derive(Clone, Default)]
pub struct ImageNumbers(HashMap<u32, u32>);

impl ImageNumbers {
    /// 1 for the first image of `pid`, then 2, 3, ...
    pub fn next(&mut self, pid: u32) -> u32 {
        let number = self.0.entry(pid).or_insert(0);
        *number = number.saturating_add(1);
        *number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sanitised() {
        let long = "x".repeat(300);
        let rows = [
            ("app.py", "app.py"),
            ("", "python"),
            (".", "_"),
            ("..", "_."),
            (".hidden", "_hidden"),
            ("-rf", "_rf"),
            ("../../etc/passwd", "_._.._etc_passwd"),
            ("a b\n\0\x1b[31m", "a_b____31m"),
            ("\u{1f40d}\u{202e}x", "__x"),
            ("na\u{ef}ve", "na_ve"),
            (long.as_str(), &long[..64]),
        ];
        for (name, expected) in rows {
            assert_eq!(sanitise(name), expected, "{name:?}");
        }
    }

    #[test]
    fn second_images_get_a_number() {
        let mut numbers = ImageNumbers::default();
        let mut next = |name, pid| file_stem(name, pid, numbers.next(pid));
        assert_eq!(next("app.py", 7), "app.py-7");
        assert_eq!(next("app.py", 7), "app.py-7.2");
        assert_eq!(next("other", 7), "other-7.3");
        assert_eq!(next("app.py", 8), "app.py-8");
    }

    #[test]
    fn groups_with_the_same_name_on_disk_get_numbers() {
        let mut names = GroupNames::default();
        let rows = [
            ("checkout", "checkout"),
            ("a b", "a_b"),
            ("a/b", "a_b.2"),
            ("a_b.3", "a_b.3"),
            ("a\0b", "a_b.4"),
            ("", "python"),
            ("..", "_."),
            ("-", "_"),
        ];
        for (name, expected) in rows {
            assert_eq!(names.next(name), expected, "{name:?}");
        }
    }

    #[test]
    fn the_default_directory_names_host_and_time() {
        let rows = [
            ("web1", "./pyprof-web1-20261120T231500Z"),
            ("", "./pyprof-host-20261120T231500Z"),
            ("../x", "./pyprof-_._x-20261120T231500Z"),
        ];
        for (host, expected) in rows {
            assert_eq!(default_directory(host, 1_795_216_500_000_000_000), PathBuf::from(expected));
        }
    }
}
