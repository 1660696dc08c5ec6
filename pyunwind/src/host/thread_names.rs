//! What Python calls its threads: `threading.Thread(name=...)`. Until 3.13 the kernel is not told, so the names are read
//! where the module has them: `sys.modules['threading']._active[ident]._name` (`Lib/threading.py`, all versions).

use alloc::string::String;
use alloc::vec::Vec;

use super::code_object::str_at;
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
}

/// The names of all threads that `threading` knows. What changes meanwhile, or cannot be read, is left out.
pub fn thread_names(
    memory: &mut impl Memory,
    layout: &Layout,
    runtime: Addr,
) -> Result<Vec<ThreadName>, Fault> {
    let memory = &mut Bounded { memory, reads: MAX_READS };
    let mut names = Vec::new();
    let Some(objects) = Objects::of(layout) else { return Ok(names) };
    let modules_offset = modules_offset(memory, layout, runtime)?;
    let mut interpreter = Addr(memory.word(runtime.offset(layout.runtime_interpreters_head.into()))?);
    for _ in 0..MAX_INTERPRETERS {
        if interpreter.is_null() || !interpreter.is_aligned() {
            break;
        }
        // An interpreter that is just being made or taken down has none of it; the others may.
        let _ = names_of(memory, layout, &objects, interpreter.offset(modules_offset), &mut names);
        let Ok(next) = memory.word(interpreter.offset(layout.interpreter_next.into())) else { break };
        interpreter = Addr(next);
    }
    Ok(names)
}

/// Memory that ends after so many reads.
struct Bounded<'a, M> {
    memory: &'a mut M,
    reads: u32,
}

impl<M> Bounded<'_, M> {
    fn count(&mut self) -> Result<(), Fault> {
        self.reads = self.reads.checked_sub(1).ok_or(Fault)?;
        Ok(())
    }
}

impl<M: Memory> Memory for Bounded<'_, M> {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        self.count()?;
        self.memory.word(at)
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        self.count()?;
        self.memory.load(at, len)
    }

    fn field(&self, offset: u32) -> u64 {
        self.memory.field(offset)
    }

    fn load_frame(&mut self, at: Addr, len: u32, contiguous: bool) -> Result<(), Fault> {
        self.count()?;
        self.memory.load_frame(at, len, contiguous)
    }

    fn frame_field(&self, offset: u32) -> u64 {
        self.memory.frame_field(offset)
    }
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

/// `modules_at`: where an interpreter has the pointer to its `sys.modules`.
fn names_of(
    memory: &mut impl Memory,
    layout: &Layout,
    objects: &Objects,
    modules_at: Addr,
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
    let mut hint = 0;
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
            found.push(ThreadName { ident, name });
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
