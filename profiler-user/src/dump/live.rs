//! The processes that live now, one after the other: what fails of one does not keep the others from being shown.

use std::io::Write;
use std::time::Duration;

use profiler_common::ProcessKey;
use profiler_common::process::{EXEC_ID_ANY, START_NS_ANY};

use super::{DumpError, Dumped, Output};
use crate::capture::how_to_read;
use crate::cli::DumpOptions;
use crate::escape::escape;
use crate::reader::stacks::{Stacks, Wanted};
use crate::reader::{Access, Inspection, Place, Presence, PythonImage, Reader, Seen, Trouble, processes};

/// An answer takes half a second at most, however many threads there are; who takes longer than this hangs.
const WAIT: Duration = Duration::from_secs(3);
/// A process with more threads than this many answers hold is cut.
const MAX_ANSWERS: usize = 256;
/// A process that maps very many files takes several looks.
const MAX_LOOKS: usize = 8;

/// Shows what was asked for on standard output.
pub(super) fn dump(pids: Option<&[u32]>, options: &DumpOptions) -> Result<(), DumpError> {
    let mut reader = Reader::patient(WAIT).map_err(DumpError::Reader)?;
    let all = pids.is_none();
    let pids = pids.map_or_else(|| processes().unwrap_or_default(), <[u32]>::to_vec);
    let mut output = Output::new(options);
    let (mut first_error, mut denied, mut others) = (None, 0, 0);
    let talk = options.talk;
    output.begin()?;
    for pid in pids {
        if all && pid == std::process::id() {
            continue;
        }
        match process(&mut reader, pid, options) {
            Ok(dumped) => output.process(&dumped)?,
            // Of all processes most are no Pythons, and some are gone by now.
            Err(DumpError::NotPython { .. } | DumpError::NoMemory(_) | DumpError::TargetGone(_)) if all => {
                others += 1
            }
            Err(DumpError::NoPrivilege { .. }) if all => {
                denied += 1;
                talk.detail(&format!("process {pid}{} may not be read", named(&mut reader, pid)));
            }
            Err(error) if all => complain(&error),
            Err(error) => {
                if let Some(before) = first_error.replace(error) {
                    complain(&before);
                }
            }
        }
    }
    output.end()?;
    if denied > 0 {
        let s = if denied == 1 { "" } else { "es" };
        talk.say(&format!("{denied} process{s} may not be read: {}", how_to_read()));
    }
    if all {
        let s = if others == 1 { " runs" } else { "es run" };
        talk.detail(&format!("{others} process{s} no Python, or ended meanwhile"));
    }
    match first_error {
        Some(error) => Err(error),
        None if output.is_empty() => {
            let more = if denied > 0 { " among those that may be read" } else { "" };
            Err(DumpError::Nothing(more.into()))
        }
        None => Ok(()),
    }
}

/// ` (sshd)`: what the kernel calls a process, if it says so.
fn named(reader: &mut Reader, pid: u32) -> String {
    reader.comm(&key(pid)).map_or(String::new(), |comm| format!(" ({})", escape(&comm)))
}

fn complain(error: &DumpError) {
    let _ = writeln!(std::io::stderr(), "{error}");
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey { start_ns: START_NS_ANY, tgid: pid, exec_id: EXEC_ID_ANY }
}

fn process(reader: &mut Reader, pid: u32, options: &DumpOptions) -> Result<Dumped, DumpError> {
    let key = key(pid);
    let stuck = |trouble: Trouble| DumpError::Unresponsive { pid, trouble: trouble.to_string() };
    match reader.presence(&key).map_err(stuck)? {
        Presence { leader: None, .. } => return Err(DumpError::TargetGone(pid)),
        Presence { leader: Some(leader), .. } if leader != pid => {
            let what = format!("it is a thread of process {leader}");
            return Err(DumpError::Unsupported { pid, what });
        }
        Presence { .. } => {}
    }
    let denied = || DumpError::NoPrivilege { pid, why: how_to_read() };
    match reader.access(&key).map_err(stuck)? {
        Access::Granted => {}
        Access::Denied => return Err(denied()),
        Access::Gone => return Err(DumpError::NoMemory(pid)),
    }
    let python = look(reader, &key)?;
    let place = Place::of(&python);
    let mut stacks = Stacks::default();
    let mut wanted = Wanted { after: 0, locals: options.locals };
    for _ in 0..MAX_ANSWERS {
        let Stacks { mut threads, more, strays, cut } = reader.stacks(&key, place, wanted).map_err(stuck)?;
        stacks.threads.append(&mut threads);
        (stacks.strays, stacks.more) = (strays, more);
        stacks.cut |= cut;
        match stacks.threads.last() {
            Some(last) if more => wanted.after = last.tid,
            _ => break,
        }
    }
    if stacks.threads.is_empty() {
        return Err(DumpError::TargetGone(pid));
    }
    let name = reader.identity(&key, pid).map_or(String::new(), |identity| identity.name);
    let PythonImage { version_text, executable, .. } = python;
    Ok(Dumped { pid, name, python: version_text, executable: executable.path, signal: None, stacks })
}

fn look(reader: &mut Reader, key: &ProcessKey) -> Result<PythonImage, DumpError> {
    let pid = key.tgid;
    let unsupported = |what: String| Err(DumpError::Unsupported { pid, what });
    for _ in 0..MAX_LOOKS {
        let looked = reader
            .look(key)
            .map_err(|trouble| DumpError::Unresponsive { pid, trouble: trouble.to_string() })?;
        return match looked.seen {
            Seen::Known(Inspection::Python(python)) => Ok(*python),
            Seen::Known(Inspection::Unsupported { what }) => unsupported(what),
            Seen::Known(Inspection::MaybeLater { .. }) => {
                let name = reader.name(key).unwrap_or_default();
                Err(DumpError::NotPython { pid, name: escape(&name).into_owned() })
            }
            Seen::TooMuch => continue,
            Seen::Gone => Err(DumpError::TargetGone(pid)),
        };
    }
    unsupported("it maps too many files to look at".into())
}
