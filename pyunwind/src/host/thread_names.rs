//! What Python calls its threads: `threading.Thread(name=...)`. Until 3.13 the kernel is not told, so the names are read
//! where the module has them: `sys.modules['threading']._active[ident]._name` (`Lib/threading.py`, all versions).

use alloc::string::String;
use alloc::vec::Vec;

use super::bounded::Bounded;
use super::code_object::{str_at, word32};
use super::dict::{Entry, Objects, pointer};
use crate::{Addr, Fault, Layout, Memory};

/// Interpreters looked at in one process, each with its own `threading`.
const MAX_INTERPRETERS: usize = 64;
/// Threads asked for their name at once.
const MAX_THREADS: usize = 8_192;
/// Kept of a name: a program may call its threads anything.
const MAX_NAME_CHARS: usize = 200;
/// Reads of all this together: enough for every bound above, too few for a target to waste time with.
const MAX_READS: u32 = 200_000;
/// Offsets in a `PyInterpreterState` are far below.
const MAX_OFFSET: u64 = 1 << 20;

/// A thread by the number that `threading.get_ident` gives it, its thread pointer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ThreadName {
    pub ident: u64,
    pub name: String,
    /// Whether the program ends without waiting for it; where `threading` has that under the name of Python 3.
    pub daemon: Option<bool>,
}

/// The names of all threads that `threading` knows. What changes meanwhile, or cannot be read, is left out.
pub fn thread_names(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
) -> Result<Vec<ThreadName>, Fault> {
    threads(memory, layout, runtime, false)
}

/// The same, and which of them the program does not wait for.
pub fn thread_names_and_daemons(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
) -> Result<Vec<ThreadName>, Fault> {
    threads(memory, layout, runtime, true)
}

fn threads(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
    with_daemons: bool,
) -> Result<Vec<ThreadName>, Fault> {
    let memory = &mut Bounded::new(memory, MAX_READS);
    let mut names = Vec::new();
    let Some(objects) = Objects::of(layout) else { return Ok(names) };
    let modules_offset = modules_offset(memory, layout, runtime)?;
    let mut interpreter = Addr(memory.word(runtime.offset(layout.runtime_interpreters_head.into()))?);
    for _ in 0..MAX_INTERPRETERS {
        if interpreter.is_null() || !interpreter.is_aligned() {
            break;
        }
        // An interpreter that is just being made or taken down has none of it; the others may.
        let modules_at = interpreter.offset(modules_offset);
        let _ = names_of(memory, layout, &objects, (modules_at, with_daemons), &mut names);
        let Ok(next) = memory.word(interpreter.offset(layout.interpreter_next.into())) else { break };
        interpreter = Addr(next);
    }
    Ok(names)
}

/// `PyInterpreterState.modules`, from 3.12 on `.imports.modules` (`Include/internal/pycore_interp.h`; 3.7 and older
/// `Include/pystate.h`, 3.8 `Include/internal/pycore_pystate.h`). From 3.13 on the process tells, in its `_Py_DebugOffsets`.
fn modules_offset(memory: &mut impl Memory, layout: &Layout, runtime: Addr) -> Result<u64, Fault> {
    let offset = match layout.minor {
        6 => 16,
        7 => 40,
        8 => 56,
        9 | 10 => 856,
        11 => 888,
        12 => 944,
        13 => memory.word(runtime.offset(88))?,
        14 | 15 => memory.word(runtime.offset(96))?,
        _ => return Err(Fault),
    };
    if offset.is_multiple_of(8) && offset < MAX_OFFSET { Ok(offset) } else { Err(Fault) }
}

/// `modules_at`: where an interpreter has the pointer to its `sys.modules`; and whether to ask for daemons.
fn names_of(
    memory: &mut impl Memory,
    layout: &Layout,
    objects: &Objects,
    (modules_at, with_daemons): (Addr, bool),
    names: &mut Vec<ThreadName>,
) -> Result<(), Fault> {
    let modules = pointer(memory, modules_at)?;
    let modules = objects.dict(memory, modules)?;
    let Some(threading) = objects.find(memory, &modules, "threading", &mut 0)? else { return Ok(()) };
    let module = objects.module_dict(memory, threading)?;
    let module = objects.dict(memory, module)?;
    let Some(active) = objects.find(memory, &module, "_active", &mut 0)? else { return Ok(()) };
    let table = objects.dict(memory, active)?;
    let mut threads: Vec<Entry> = Vec::new();
    table.each(memory, |_, entry| {
        threads.push(entry);
        Ok(names.len() + threads.len() < MAX_THREADS)
    })?;
    let (mut hint, mut daemon_hint) = (0, 0);
    let mut found = Vec::new();
    for entry in threads {
        // A number below 2**61 is its own hash (`Python/pyhash.c`).
        let Entry { hash: ident, value_at, .. } = entry;
        let thread = Addr(memory.word(value_at)?);
        if thread.is_null() || !thread.is_aligned() {
            continue;
        }
        let Ok(Some(name)) = name_of(memory, layout, objects, thread, &mut hint) else { continue };
        // The thread may have gone meanwhile, and its object with it.
        if memory.word(value_at) == Ok(thread.0) {
            let daemon = if with_daemons {
                is_daemon(memory, objects, thread, &mut daemon_hint).unwrap_or(None)
            } else {
                None
            };
            found.push(ThreadName { ident, name, daemon });
        }
    }
    // After a growth the old entries may have been anything.
    if objects.dict(memory, active)?.keys == table.keys {
        names.append(&mut found);
    }
    Ok(())
}

fn name_of(
    memory: &mut impl Memory,
    layout: &Layout,
    objects: &Objects,
    thread: Addr,
    hint: &mut u64,
) -> Result<Option<String>, Fault> {
    let Some(attributes) = objects.attributes(memory, thread)? else { return Ok(None) };
    let Some(name) = objects.find(memory, &attributes, "_name", hint)? else { return Ok(None) };
    let name = str_at(memory, layout, name, "thread name").ok().filter(|name| !name.is_empty());
    Ok(name.map(|name| name.chars().take(MAX_NAME_CHARS).collect()))
}

/// `_daemonic`, if it is a `bool`.
fn is_daemon(
    memory: &mut impl Memory,
    objects: &Objects,
    thread: Addr,
    hint: &mut u64,
) -> Result<Option<bool>, Fault> {
    let Some(attributes) = objects.attributes(memory, thread)? else { return Ok(None) };
    let Some(value) = objects.find(memory, &attributes, "_daemonic", hint)? else { return Ok(None) };
    // The digits of an `int`, of which there is one.
    let digit = word32(memory, value.offset(objects.head() + 8))?;
    Ok(match digit {
        0 | 1 => Some(digit == 1),
        _ => None,
    })
}
