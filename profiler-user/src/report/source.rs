//! Source lines with their time, where the source is at hand. The names of source files come out of a profile, so nothing
//! but a regular file of a sensible size is opened: no device, no pipe, nothing of the kernel's.

use super::input::shown;
use super::tally::lines;
use crate::profile::{Profile, Total};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const MAX_SOURCE_BYTES: u64 = 4 << 20;
/// Of a line that is shown; terminals cut it further.
const MAX_LINE_CHARS: usize = 500;
/// Lines around one that has time.
const AROUND: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: String,
    /// Why there is no text.
    pub missing: Option<String>,
    pub own: Total,
    pub lines: Vec<SourceLine>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLine {
    pub line: u32,
    pub own: Total,
    pub total: Total,
    /// Empty where the file is not at hand.
    pub text: String,
    /// Lines between the one before and this one are left out.
    pub after_gap: bool,
}

/// The lines of the functions whose number `is_wanted`, by file, the most own time first.
pub fn annotate(profile: &Profile, is_wanted: impl Fn(usize) -> bool) -> Vec<SourceFile> {
    let mut files: BTreeMap<String, BTreeMap<u32, (Total, Total)>> = BTreeMap::new();
    for row in lines(profile, false, is_wanted) {
        if row.total == Total::default() || row.file.is_empty() {
            continue;
        }
        let (own, total) = files.entry(row.file).or_default().entry(row.line).or_default();
        own.merge(row.own);
        total.merge(row.total);
    }
    let mut files: Vec<SourceFile> = files.into_iter().map(|(path, lines)| annotated(path, &lines)).collect();
    files.sort_by(|a, b| (b.own.weight_ns, &a.path).cmp(&(a.own.weight_ns, &b.path)));
    files
}

fn annotated(path: String, times: &BTreeMap<u32, (Total, Total)>) -> SourceFile {
    let text = read(Path::new(&path));
    let (text, missing) = match text {
        Ok(text) => (text, None),
        Err(why) => (String::new(), Some(why)),
    };
    let texts: Vec<&str> = text.lines().collect();
    let last = texts.len() as u32;
    let mut shown: BTreeMap<u32, SourceLine> = BTreeMap::new();
    let mut own_sum = Total::default();
    for (&line, &(own, total)) in times {
        own_sum.merge(own);
        for near in line.saturating_sub(AROUND).max(1)..=line.saturating_add(AROUND).min(last) {
            shown.entry(near).or_default();
        }
        let at = shown.entry(line).or_default();
        (at.own, at.total) = (own, total);
    }
    let mut before = None;
    for (&line, at) in &mut shown {
        at.line = line;
        at.after_gap = before.is_some_and(|before| before + 1 != line);
        let text = texts.get((line as usize).wrapping_sub(1)).copied().unwrap_or("");
        at.text = text.chars().take(MAX_LINE_CHARS).collect();
        before = Some(line);
    }
    SourceFile { path, missing, own: own_sum, lines: shown.into_values().collect() }
}

fn read(path: &Path) -> Result<String, String> {
    if !path.is_absolute() {
        return Err("its path is not absolute".into());
    }
    // Looked at first: opening a device may already do something.
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let check = |metadata: &std::fs::Metadata| match metadata.len() {
        _ if !metadata.is_file() => Err("it is no regular file".to_owned()),
        // Files of the kernel's (/proc, /sys) say that they are empty.
        0 => Err("it is empty".to_owned()),
        len if len > MAX_SOURCE_BYTES => Err(format!("it is more than {} MB", MAX_SOURCE_BYTES >> 20)),
        _ => Ok(()),
    };
    check(&metadata)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| error.to_string())?;
    check(&file.metadata().map_err(|error| error.to_string())?)?;
    let mut bytes = Vec::new();
    file.take(MAX_SOURCE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{}: {error}", shown(path)))?;
    if bytes.contains(&0) {
        return Err("it is no text".into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_files_of_a_sensible_size_are_opened() {
        let rows = [
            ("/dev/zero", "no regular file"),
            ("/", "no regular file"),
            ("/proc/version", "empty"),
            ("relative.py", "not absolute"),
            ("/nowhere/x.py", "No such file"),
            ("/proc/self/exe", "MB"),
        ];
        for (path, expected) in rows {
            let why = read(Path::new(path)).unwrap_err();
            assert!(why.contains(expected), "{path}: {why}");
        }
        assert!(read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/report/source.rs"))).is_ok());
    }
}
