//! Code objects of one process image, by address and identity, and the places in them that were sampled.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use profiler_common::limits::{MAX_LINES_BYTES, MAX_LINES_CHUNKS};
use profiler_common::{CodeEvent, Frame, LinesEvent, Text};
use pyunwind::host::code_object::{CodeObject, Parts, RawStr};
use pyunwind::host::lines::LineTable;
use pyunwind::layout::ABSENT;
use pyunwind::step::INDEX_UNKNOWN;
use pyunwind::{Addr, Layout, code};

use crate::process::{ProcessMemory, PythonImage};
use crate::profile::{FunctionId, LocationId, Profile};

/// How long processes may be asked for code objects per batch of records: a megabyte of line table takes milliseconds, and
/// a target can have any number of those. What is left out waits for the next batch.
const ASK_AT_ONCE: Duration = Duration::from_millis(50);
/// Shown for a name that nobody could read.
pub const UNREADABLE: &str = "<unreadable>";

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CodeKey {
    pub code: u64,
    pub identity: u32,
}

impl CodeKey {
    pub fn of(frame: &Frame) -> CodeKey {
        CodeKey { code: frame.code, identity: frame.identity }
    }
}

/// Where code objects are read that the kernel did not send: the process itself, as long as there is time.
pub struct Source<'a> {
    layout: &'a Layout,
    memory: ProcessMemory,
    spent: &'a mut Duration,
}

impl<'a> Source<'a> {
    /// `spent`: of [`ASK_AT_ONCE`], by all processes.
    pub fn new(python: &'a PythonImage, spent: &'a mut Duration) -> Source<'a> {
        Source { layout: &python.layout, memory: ProcessMemory::new(python.task), spent }
    }

    pub fn is_exhausted(&self) -> bool {
        *self.spent >= ASK_AT_ONCE
    }

    fn read(&mut self, key: CodeKey) -> Option<CodeObject> {
        let Source { layout, memory, .. } = self;
        let same = |memory: &mut ProcessMemory| {
            code::check(memory, layout, Addr(key.code), 0).is_ok_and(|check| check.identity == key.identity)
        };
        if !same(memory) {
            return None;
        }
        let code = CodeObject::read(memory, layout, Addr(key.code)).ok()?;
        same(memory).then_some(code)
    }
}

struct Code {
    function: FunctionId,
    lines: LineTable,
    lines_total: usize,
    places: HashMap<i32, LocationId>,
}

#[derive(Default)]
pub struct Codes {
    known: HashMap<CodeKey, Code>,
    line_bytes: usize,
    places: usize,
    /// Code objects whose name could not be read anywhere.
    pub unnamed: u64,
}

/// The kernel sends no more of a line table.
const MOST_LINES_BYTES: u32 = MAX_LINES_CHUNKS * MAX_LINES_BYTES as u32;
/// Rough cost of an entry beside its line table.
const ENTRY_BYTES: usize = 160;
const PLACE_BYTES: usize = 24;

fn raw<'a>(text: &Text, bytes: &'a [u8]) -> RawStr<'a> {
    RawStr { state: text.state, chars: u64::from(text.chars), bytes }
}

/// Whether a text is as it was in the target, or at least its beginning.
fn is_readable(text: &Text) -> bool {
    text.bytes != 0 || (text.chars == 0 && text.state != 0)
}

impl Codes {
    pub fn is_known(&self, key: &CodeKey) -> bool {
        self.known.contains_key(key)
    }

    /// Takes what the kernel captured; asks the process where that fell short.
    pub fn capture(&mut self, profile: &mut Profile, from: &mut Source<'_>, event: &CodeEvent, data: &[u8]) {
        let key = CodeKey { code: event.code, identity: event.identity };
        let whole = is_readable(&event.name) && is_readable(&event.file);
        let lines_missing =
            event.lines_total != 0 && event.lines_bytes == 0 || event.lines_total > MOST_LINES_BYTES;
        if (!whole || lines_missing) && self.ask(profile, from, key) {
            return;
        }
        if !whole && from.is_exhausted() {
            // Whose samples need it asks again.
            return;
        }
        let layout = from.layout;
        // The ring's reader has checked that all three parts are there.
        let (name, data) = data.split_at((event.name.bytes as usize).min(data.len()));
        let (file, data) = data.split_at((event.file.bytes as usize).min(data.len()));
        let lines = data.get(..event.lines_bytes as usize).unwrap_or(data);
        let qualified = layout.code_qualname != ABSENT;
        let text = raw(&event.name, name);
        let code = CodeObject::from_parts(
            layout,
            Parts {
                first_line: event.first_line,
                name: text,
                qualname: qualified.then_some(text),
                file: raw(&event.file, file),
                line_table: lines,
                line_table_bytes: u64::from(event.lines_total),
            },
        );
        self.insert(profile, key, &code, event.lines_total as usize, whole);
    }

    /// Takes a further chunk of a line table.
    pub fn extend(&mut self, event: &LinesEvent, bytes: &[u8]) {
        let key = CodeKey { code: event.code, identity: event.identity };
        let Some(code) = self.known.get_mut(&key) else { return };
        if code.lines.bytes.len() == event.offset as usize && code.lines.bytes.len() < code.lines_total {
            let wanted = bytes.len().min(code.lines_total - code.lines.bytes.len());
            code.lines.bytes.extend_from_slice(&bytes[..wanted]);
            self.line_bytes += wanted;
            code.lines.complete = code.lines.bytes.len() >= code.lines_total;
        }
    }

    /// Reads a code object from the process, if it is still the one that was sampled and there is time to.
    pub fn ask(&mut self, profile: &mut Profile, from: &mut Source<'_>, key: CodeKey) -> bool {
        if from.is_exhausted() {
            return false;
        }
        let began = Instant::now();
        let code = from.read(key);
        *from.spent += began.elapsed();
        let Some(code) = code else { return false };
        let total = code.lines.bytes.len();
        self.insert(profile, key, &code, total, true);
        true
    }

    /// Gives a code object that nobody can read any more a name that says so.
    pub fn give_up(&mut self, profile: &mut Profile, key: CodeKey) {
        if self.known.contains_key(&key) {
            return;
        }
        let function = profile.function(UNREADABLE, "", 0);
        let lines = LineTable { kind: 0, first_line: 0, bytes: Vec::new(), complete: false };
        self.known.insert(key, Code { function, lines, lines_total: 0, places: HashMap::new() });
        self.unnamed += 1;
    }

    fn insert(&mut self, profile: &mut Profile, key: CodeKey, code: &CodeObject, total: usize, whole: bool) {
        let name = if whole || !code.display_name().is_empty() { code.display_name() } else { UNREADABLE };
        if !whole {
            self.unnamed += 1;
        }
        let first_line = u32::try_from(code.first_line).unwrap_or(0);
        let function = profile.function(name, &code.file, first_line);
        self.line_bytes += code.lines.bytes.len();
        let lines = code.lines.clone();
        // Sent again after an eviction or a lost race: the places stay valid, the contents are the same.
        match self.known.get_mut(&key) {
            Some(known) if known.function == function && known.lines.bytes.len() >= lines.bytes.len() => {}
            _ => {
                self.known.insert(key, Code { function, lines, lines_total: total, places: HashMap::new() });
            }
        }
    }

    /// Where a frame stands; `None` while its code object is not known.
    pub fn place(&mut self, profile: &mut Profile, frame: &Frame) -> Option<LocationId> {
        let code = self.known.get_mut(&CodeKey::of(frame))?;
        if let Some(place) = code.places.get(&frame.index) {
            return Some(*place);
        }
        // Outside the code object, as a hostile frame may claim, there are no lines.
        let line = if frame.index == INDEX_UNKNOWN { 0 } else { code.lines.line(frame.index).shown() };
        let place = profile.location(code.function, line, 0);
        code.places.insert(frame.index, place);
        self.places += 1;
        Some(place)
    }

    pub fn memory_bytes(&self) -> usize {
        self.known.len() * ENTRY_BYTES + self.line_bytes + self.places * PLACE_BYTES
    }
}

#[cfg(test)]
#[path = "codes_tests.rs"]
pub(super) mod tests;
