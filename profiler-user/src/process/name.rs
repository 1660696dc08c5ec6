//! What a process is called in a profile: its script or module, else its program. Nothing else of its command line
//! leaves this file, since arguments hold passwords.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use crate::escape::escape_bytes;

const MAX_COMMAND_LINE_BYTES: u64 = 64 << 10;
const MAX_NAME_CHARS: usize = 120;
/// The name of a process that has none.
pub const UNKNOWN: &str = "unknown";

/// The name of a live process. `task` may be any live thread of it.
pub fn process_name(task: u32) -> io::Result<String> {
    let mut command_line = Vec::new();
    File::open(format!("/proc/{task}/cmdline"))?
        .take(MAX_COMMAND_LINE_BYTES)
        .read_to_end(&mut command_line)?;
    // A process that is going away has no executable any more, but may still have its arguments.
    let executable = std::fs::read_link(format!("/proc/{task}/exe"))
        .map_or(Vec::new(), |path| super::maps::unescape(&path.into_os_string().into_vec()));
    Ok(name_of(&command_line, &executable))
}

/// The name for a command line as /proc prints it (each argument ended by NUL) and the path of the executable.
pub fn name_of(command_line: &[u8], executable: &[u8]) -> String {
    let mut arguments: Vec<&[u8]> =
        command_line.strip_suffix(b"\0").unwrap_or(command_line).split(|&byte| byte == 0).collect();
    let mut program = base_name(executable);
    if is_loader(program) {
        arguments = behind_loader(&arguments);
        program = arguments.first().map_or(program, |argument| base_name(argument));
    }
    let first = arguments.first().copied().unwrap_or_default();
    let called = base_name(first);
    if is_interpreter(called) || is_interpreter(program) && !is_title(first) {
        if let Some(name) = arguments.get(1..).and_then(target).filter(|name| !name.is_empty()) {
            return printable_name(name);
        }
        return printable_name(if is_interpreter(called) { called } else { program });
    }
    if is_interpreter(program) {
        // A title that the process gave itself, "gunicorn: master [app]": its first word is the program.
        let end = first.iter().position(|byte| b": \t\n".contains(byte)).unwrap_or(first.len());
        let word = base_name(&first[..end]);
        return printable_name(if word.is_empty() { program } else { word });
    }
    printable_name(if program.is_empty() { called } else { program })
}

/// `python`, `python3.11`, `python3.11-dbg`, `python3.13t`, `pypy3`: nothing that merely begins with the word.
pub fn is_interpreter(program: &[u8]) -> bool {
    let rest = program.strip_prefix(b"python").or_else(|| program.strip_prefix(b"pypy"));
    rest.is_some_and(|rest| {
        let version = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        [&b""[..], b"d", b"m", b"dm", b"t", b"td", b"u", b"mu", b"-dbg", b"-debug", b"-c"]
            .contains(&&rest[version..])
    })
}

/// Set by `setproctitle` and its like over the arguments: a sentence, not a path.
fn is_title(argument: &[u8]) -> bool {
    !argument.starts_with(b"/") && argument.iter().any(|byte| b": ".contains(byte))
}

fn is_loader(program: &[u8]) -> bool {
    program.starts_with(b"ld-linux") || program.starts_with(b"ld-musl") || program.starts_with(b"ld-2.")
}

/// The command line that the loader was asked to run (glibc `elf/rtld.c`, musl `ldso/dynlink.c`).
fn behind_loader<'a>(arguments: &[&'a [u8]]) -> Vec<&'a [u8]> {
    const WITH_VALUE: [&[u8]; 7] = [
        b"--library-path",
        b"--preload",
        b"--audit",
        b"--argv0",
        b"--inhibit-rpath",
        b"--glibc-hwcaps-prepend",
        b"--glibc-hwcaps-mask",
    ];
    let mut rest = arguments.get(1..).unwrap_or_default();
    while let Some((option, tail)) = rest.split_first()
        && option.starts_with(b"--")
    {
        rest = if WITH_VALUE.contains(option) { tail.get(1..).unwrap_or_default() } else { tail };
        if *option == b"--" {
            break;
        }
    }
    rest.to_vec()
}

/// The script or module among the arguments of an interpreter, read as CPython reads them (`Python/getopt.c`,
/// `Python/initconfig.c`); `None` for other `-c`, standard input, and whatever is not understood.
fn target<'a>(arguments: &[&'a [u8]]) -> Option<&'a [u8]> {
    const FLAGS: &[u8] = b"bBdEhiIOPqRsStuvVx?3J";
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(option) = argument.strip_prefix(b"-") else { return Some(script(argument)) };
        match option {
            b"" => return None,
            b"-" => return rest.next().map(|argument| script(argument)),
            b"-check-hash-based-pycs" => drop(rest.next()),
            b"-help" | b"-version" | b"-help-env" | b"-help-xoptions" | b"-help-all" => return None,
            _ if option.starts_with(b"-") => return None,
            _ => {}
        }
        if option.starts_with(b"-") {
            continue;
        }
        // Letters may be joined: `-Bsm pkg`, `-BWdefault`. One that takes a value takes the rest of the word.
        for (index, letter) in option.iter().enumerate() {
            let attached = &option[index + 1..];
            match letter {
                b'c' => {
                    let code = if attached.is_empty() { rest.next().copied() } else { Some(attached) };
                    return code.and_then(helper);
                }
                b'm' if attached.is_empty() => return rest.next().copied(),
                b'm' => return Some(attached),
                b'W' | b'X' | b'Q' => {
                    if attached.is_empty() {
                        rest.next();
                    }
                    break;
                }
                letter if FLAGS.contains(letter) => {}
                _ => return None,
            }
        }
    }
    None
}

/// The module that `-c` runs where the standard library has written the code (`Lib/multiprocessing/spawn.py`,
/// `get_command_line`; `forkserver.py`, `resource_tracker.py`). Of anybody else's code nothing is told.
fn helper(code: &[u8]) -> Option<&[u8]> {
    const MODULES: [&[u8]; 4] = [
        b"multiprocessing.spawn",
        b"multiprocessing.forkserver",
        b"multiprocessing.resource_tracker",
        b"multiprocessing.semaphore_tracker",
    ];
    let code = code.strip_prefix(b"from ")?;
    MODULES
        .into_iter()
        .find(|module| code.strip_prefix(*module).is_some_and(|rest| rest.starts_with(b" import ")))
}

fn script(path: &[u8]) -> &[u8] {
    let name = base_name(path);
    name.strip_suffix(b".py").filter(|stem| !stem.is_empty()).unwrap_or(name)
}

pub(super) fn base_name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let start = path[..end].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    &path[start..end]
}

fn printable_name(name: &[u8]) -> String {
    // A module name may be anything on a command line; a slash would make a path of it.
    let name = escape_bytes(base_name(name));
    if name.is_empty() { UNKNOWN.to_owned() } else { name.chars().take(MAX_NAME_CHARS).collect() }
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
