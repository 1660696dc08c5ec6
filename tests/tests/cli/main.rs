//! The promises of the command line, on the real binary: exit codes, what it writes and where, what it never says.

mod exits;
mod files;
mod outputs;
mod privacy;
mod terminal;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use pyprof_tests::target::SPIN;
use pyprof_tests::{Python, Scratch, Target, capture, pythons};

/// What a run of the binary left behind.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The binary, in a directory of its own, on no terminal.
fn pyprof(directory: &Scratch) -> Command {
    let mut command = Command::new(capture::binary());
    command.current_dir(directory.path()).stdin(Stdio::null());
    for key in ["SUDO_UID", "SUDO_GID"] {
        command.env_remove(key);
    }
    command
}

fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("pyprof-bpf runs");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text on standard output"),
        stderr: String::from_utf8(output.stderr).expect("text on standard error"),
    }
}

/// What is in a directory, sorted.
fn list(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// `#` in the pattern stands for a number, `*` for anything on one line, all else for itself.
fn fits(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('#') => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            digits > 0 && fits(rest.as_str(), &text[digits..])
        }
        Some('*') => (0..=text.len())
            .filter(|&end| text.is_char_boundary(end))
            .take_while(|&end| !text[..end].contains('\n'))
            .any(|end| fits(rest.as_str(), &text[end..])),
        Some(c) => text.strip_prefix(c).is_some_and(|text| fits(rest.as_str(), text)),
    }
}

fn spinner(name: &str) -> Target {
    Target::start(&any_python(), name, SPIN, &[])
}

/// The static build: one interpreter is as good as another where only the command line is at stake.
fn any_python() -> Python {
    pythons().into_iter().find(|python| python.is_static).expect("a static CPython")
}

#[test]
fn patterns_fit_what_they_should() {
    let rows = [
        ("a # b", "a 12 b", true),
        ("a # b", "a  b", false),
        ("#.# s*", "1.25 s of x", true),
        ("*x", "a\nx", false),
        ("", "a", false),
    ];
    for (pattern, text, expected) in rows {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}
