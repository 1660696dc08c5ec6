//! `--output` and `--format`: where results go, and as what. The ending of a name and the formats asked for must agree.

use crate::encode::Format;
use crate::escape::escape_bytes;
use crate::sink::is_stdout;
use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the results go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Into a directory, one file per process, or per group of them, and format. None: a name made from host and time.
    Directory(Option<PathBuf>),
    /// All processes in one file.
    File(PathBuf),
    Stdout,
}

/// Endings of files that none of the formats has: a directory of that name would surprise.
const FOREIGN: [(&str, &str); 8] = [
    (".svg", "a flame graph is a page: name it .html"),
    (".json", "say which: .speedscope.json or .firefox.json"),
    (".json.gz", "say which: .firefox.json.gz, or -f firefox"),
    (".pb", "pprof is compressed: name it .pb.gz"),
    (".gz", "say which: .pb.gz or .firefox.json.gz"),
    (".prof", "name it .pb.gz or .pprof"),
    (".pdf", "a flame graph is a page: name it .html"),
    (".png", "a flame graph is a page: name it .html"),
];

/// What the two mean together; `formats` in the order in which they were typed.
pub(super) fn output(output: Option<PathBuf>, formats: Vec<Format>) -> Result<(Output, Vec<Format>), String> {
    let mut distinct: Vec<Format> = Vec::new();
    for format in formats {
        if !distinct.contains(&format) {
            distinct.push(format);
        }
    }
    let or_pprof = |formats: Vec<Format>| if formats.is_empty() { vec![Format::Pprof] } else { formats };
    let Some(path) = output else { return Ok((Output::Directory(None), or_pprof(distinct))) };
    if path.as_os_str().is_empty() {
        return Err("--output: the name is empty".into());
    }
    if is_stdout(&path) {
        let formats = or_pprof(distinct);
        let format = only(&formats, "-")?;
        if format == Format::Pprof && std::io::stdout().is_terminal() {
            return Err(
                "--output -: pprof is binary and never goes to a terminal; pipe it, or name a file".into()
            );
        }
        return Ok((Output::Stdout, formats));
    }
    let shown = escape_bytes(path.as_os_str().as_bytes()).into_owned();
    let is_directory = path.is_dir() || path.as_os_str().as_bytes().ends_with(b"/");
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if is_directory || name.is_empty() {
        return Ok((Output::Directory(Some(path)), or_pprof(distinct)));
    }
    if let Some(said) = Format::of_file(&name) {
        let formats = if distinct.is_empty() { vec![said] } else { distinct };
        let asked = only(&formats, &shown)?;
        if asked != said {
            return Err(format!(
                "--output {shown}: this ending says {}, but --format says {}",
                said.name(),
                asked.name()
            ));
        }
        return Ok((Output::File(path), formats));
    }
    if let [format] = distinct[..]
        && format.allows(&name)
    {
        return Ok((Output::File(path), distinct));
    }
    let lower = name.to_ascii_lowercase();
    if let Some((_, help)) = FOREIGN.iter().find(|(ending, _)| lower.ends_with(ending)) {
        return Err(format!("--output {shown}: no format has this ending; {help}"));
    }
    refuse_what_is_no_directory(&path, &shown)?;
    Ok((Output::Directory(Some(path)), or_pprof(distinct)))
}

/// One file is of one format.
fn only(formats: &[Format], shown: &str) -> Result<Format, String> {
    match formats {
        [format] => Ok(*format),
        several => {
            let names: Vec<&str> = several.iter().map(|format| format.name()).collect();
            Err(format!("--output {shown}: one file cannot be {}; name a directory", names.join(" and ")))
        }
    }
}

/// A name without one of the endings is that of a directory.
fn refuse_what_is_no_directory(output: &Path, shown: &str) -> Result<(), String> {
    let Ok(metadata) = output.metadata() else { return Ok(()) };
    if metadata.file_type().is_char_device() && is_terminal(output) {
        return Err(format!("--output {shown}: binary output never goes to a terminal; name a directory"));
    }
    let endings: Vec<&str> = Format::ALL.iter().map(|format| format.ending()).collect();
    Err(format!("--output {shown}: not a directory, and a file ends in one of {}", endings.join(", ")))
}

fn is_terminal(path: &Path) -> bool {
    // Opening a terminal must neither wait for a carrier nor make it the controlling terminal.
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    File::options().read(true).custom_flags(flags).open(path).is_ok_and(|file| file.is_terminal())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Format::{Collapsed, Firefox, Flamegraph, Pprof, Speedscope};

    #[test]
    fn names_and_formats_decide_together_or_are_refused() {
        let directory = |path: &str| Output::Directory(Some(path.into()));
        let file = |path: &str| Output::File(path.into());
        type Expected = Result<(Output, Vec<Format>), &'static str>;
        let rows: Vec<(Option<&str>, &[Format], Expected)> = vec![
            (None, &[], Ok((Output::Directory(None), vec![Pprof]))),
            (None, &[Firefox, Pprof, Firefox], Ok((Output::Directory(None), vec![Firefox, Pprof]))),
            (Some("/nowhere/d"), &[Flamegraph], Ok((directory("/nowhere/d"), vec![Flamegraph]))),
            (Some("/nowhere/x.html"), &[], Ok((file("/nowhere/x.html"), vec![Flamegraph]))),
            (Some("x.HTML"), &[Flamegraph], Ok((file("x.HTML"), vec![Flamegraph]))),
            (Some("x.html/"), &[], Ok((directory("x.html/"), vec![Pprof]))),
            (Some("x.html.d"), &[], Ok((directory("x.html.d"), vec![Pprof]))),
            (Some("1.2.3"), &[], Ok((directory("1.2.3"), vec![Pprof]))),
            (Some("x.json"), &[Speedscope], Ok((file("x.json"), vec![Speedscope]))),
            (Some("x.json.gz"), &[Firefox], Ok((file("x.json.gz"), vec![Firefox]))),
            (Some("x.pb.gz"), &[], Ok((file("x.pb.gz"), vec![Pprof]))),
            (Some("x.folded"), &[], Ok((file("x.folded"), vec![Collapsed]))),
            (Some("-"), &[Collapsed], Ok((Output::Stdout, vec![Collapsed]))),
            (Some("."), &[], Ok((directory("."), vec![Pprof]))),
            (Some(""), &[], Err("empty")),
            (Some("-"), &[Collapsed, Pprof], Err("cannot be collapsed and pprof")),
            (Some("x.html"), &[Pprof], Err("this ending says flamegraph, but --format says pprof")),
            (Some("x.pb.gz"), &[Firefox], Err("says pprof, but --format says firefox")),
            (Some("x.speedscope.json"), &[Firefox], Err("says speedscope, but --format says firefox")),
            (Some("x.firefox.json"), &[Speedscope], Err("says firefox, but --format says speedscope")),
            (Some("x.html"), &[Pprof, Flamegraph], Err("cannot be pprof and flamegraph")),
            (Some("x.json"), &[], Err("say which")),
            (Some("x.json"), &[Pprof], Err("say which")),
            (Some("x.svg"), &[], Err("name it .html")),
            (Some("x.svg"), &[Flamegraph], Err("name it .html")),
            (Some("/dev/null"), &[], Err("not a directory, and a file ends in one of")),
            (Some("/etc/passwd"), &[Collapsed], Err("not a directory")),
        ];
        for (path, formats, expected) in rows {
            let got = output(path.map(PathBuf::from), formats.to_vec());
            match (&got, &expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{path:?} {formats:?}"),
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{path:?} {formats:?}: {got}"),
                _ => panic!("{path:?} {formats:?}: {got:?}"),
            }
        }
    }
}
