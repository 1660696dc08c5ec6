//! Code objects of one process image, by address and identity, and the places in them that were sampled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use profiler_common::limits::{MAX_LINES_BYTES, MAX_LINES_CHUNKS};
use profiler_common::{CodeEvent, Frame, LinesEvent, ProcessKey, Text};
use pyunwind::Layout;
use pyunwind::host::code_object::{CodeObject, Parts, RawStr};
use pyunwind::host::lines::{LineMarks, LineTable};
use pyunwind::layout::ABSENT;
use pyunwind::step::INDEX_UNKNOWN;

use crate::profile::{FunctionId, LocationId, Profile};
use crate::reader::{Place, PythonImage, Reader, Trouble};

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
    key: ProcessKey,
    layout: &'a Layout,
    place: Place,
    reader: &'a mut Reader,
    spent: &'a mut Duration,
    /// The reader is still at a question about this process: there will be an answer, and not now.
    later: bool,
}

impl<'a> Source<'a> {
    /// `spent`: of [`ASK_AT_ONCE`], by all processes.
    pub fn new(
        key: ProcessKey,
        python: &'a PythonImage,
        reader: &'a mut Reader,
        spent: &'a mut Duration,
    ) -> Source<'a> {
        Source { key, layout: &python.layout, place: Place::of(python), reader, spent, later: false }
    }

    pub fn is_exhausted(&self) -> bool {
        self.later || *self.spent >= ASK_AT_ONCE
    }

    fn read(&mut self, key: CodeKey) -> Option<CodeObject> {
        let answer = self.reader.code(&self.key, self.place, key.code, key.identity);
        self.later = answer.as_ref().err() == Some(&Trouble::Later);
        answer.ok().flatten()
    }
}

/// What a code object is called, and where.
enum Name {
    /// In the tables of the profile.
    Interned(FunctionId),
    /// Not needed there yet.
    Kept { name: Box<str>, file: Arc<str>, first_line: u32 },
}

struct Code {
    name: Name,
    lines: LineTable,
    marks: LineMarks,
    lines_total: usize,
    places: HashMap<i32, LocationId>,
}

impl Code {
    fn new(function: FunctionId, lines: LineTable, lines_total: usize) -> Code {
        Code {
            name: Name::Interned(function),
            lines,
            marks: LineMarks::default(),
            lines_total,
            places: HashMap::new(),
        }
    }
}

#[derive(Default)]
pub struct Codes {
    /// Boxed: a table that doubles is one of pointers.
    known: HashMap<CodeKey, Box<Code>>,
    line_bytes: usize,
    places: usize,
    /// Code objects whose name could not be read anywhere.
    pub unnamed: u64,
}

/// The kernel sends no more of a line table.
const MOST_LINES_BYTES: u32 = MAX_LINES_CHUNKS * MAX_LINES_BYTES as u32;
/// Code objects without a sample are not worth the trouble of forgetting them below this.
const MIN_UNUSED_BYTES: usize = 64 << 10;
/// A slot of the table, with its control byte, at a load of at most 7/8.
const SLOT_BYTES: usize = (size_of::<(CodeKey, Box<Code>)>() + 1) * 8 / 7;
/// What an entry takes beside its line table, with what the allocator adds.
const ENTRY_BYTES: usize = size_of::<Code>() + 16;
const PLACE_BYTES: usize = 24;
/// Marks take a twentieth of a line table at most.
const MARKS_SHARE: usize = 20;

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
        self.known.insert(key, Box::new(Code::new(function, lines, 0)));
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
        match self.known.get(&key).map(Box::as_ref) {
            Some(Code { name: Name::Interned(same), lines: known, .. })
                if *same == function && known.bytes.len() >= lines.bytes.len() => {}
            _ => {
                self.known.insert(key, Box::new(Code::new(function, lines, total)));
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
        let line = if frame.index == INDEX_UNKNOWN {
            0
        } else {
            code.lines.line_by(frame.index, &mut code.marks).shown()
        };
        let function = match &code.name {
            Name::Interned(function) => *function,
            Name::Kept { name, file, first_line } => {
                let function = profile.function(name, file, *first_line);
                code.name = Name::Interned(function);
                function
            }
        };
        let place = profile.location(function, line, 0);
        code.places.insert(frame.index, place);
        self.places += 1;
        Some(place)
    }

    /// The profile whose tables names and places are in goes, another one comes. What it had no sample of is forgotten if
    /// that takes more memory than all else; `true` if something was.
    pub fn renew(&mut self, old: &Profile, may_forget: bool) -> bool {
        let bytes = |unused: bool| -> usize {
            let codes = self.known.values().filter(|code| code.places.is_empty() == unused);
            codes.map(|code| ENTRY_BYTES + code.lines.bytes.len()).sum()
        };
        let (unused, used) = (bytes(true), bytes(false));
        let forgets = may_forget && unused > used.max(MIN_UNUSED_BYTES);
        if forgets {
            self.known.retain(|_, code| !code.places.is_empty());
            self.known.shrink_to_fit();
        }
        let mut files: HashMap<u32, Arc<str>> = HashMap::new();
        for code in self.known.values_mut() {
            code.places = HashMap::new();
            if let Name::Interned(function) = &code.name {
                let function = &old.functions()[function.index()];
                let file = files.entry(function.file.0).or_insert_with(|| old.string(function.file).into());
                code.name = Name::Kept {
                    name: old.string(function.name).into(),
                    file: file.clone(),
                    first_line: function.start_line,
                };
            }
        }
        self.line_bytes = self.known.values().map(|code| code.lines.bytes.len()).sum();
        self.places = 0;
        forgets
    }

    /// What `more` new code objects may add at once: a full table doubles, and the old one stays until all is moved.
    pub fn growth_bytes(&self, more: usize) -> usize {
        let capacity = self.known.capacity();
        if self.known.len() + more > capacity { 2 * capacity * SLOT_BYTES } else { 0 }
    }

    pub fn memory_bytes(&self) -> usize {
        self.known.capacity() * SLOT_BYTES
            + self.known.len() * ENTRY_BYTES
            + self.line_bytes
            + self.line_bytes / MARKS_SHARE
            + self.places * PLACE_BYTES
    }
}

#[cfg(test)]
#[path = "codes_tests.rs"]
pub(super) mod tests;
