//! From an instruction to its source line, on every encoding that CPython has used: the tables come from the target
//! and may hold anything, so one walk bounded by the table's own length serves all of them.

use alloc::vec::Vec;

use crate::layout::{LINES_LNOTAB, LINES_LNOTAB_2, LINES_PEP626};

/// A code object's line table, as the target holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineTable {
    /// One of `pyunwind::layout::LINES_*`.
    pub kind: u8,
    pub first_line: i32,
    pub bytes: Vec<u8>,
    /// Whether `bytes` is the whole table: a capture may have cut it.
    pub complete: bool,
}

/// What a table says of one instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Line {
    /// Usually from 1 on; 3.11+ itself gives 0 to the first instruction of a module.
    At(u32),
    /// The compiler gave this instruction no line.
    NoLine,
    /// The table was cut, or breaks off in the middle of an entry, before it answers.
    Unknown,
}

impl Line {
    /// The line as shown to users: an instruction without one is line 0, never the line before it.
    pub const fn shown(self) -> u32 {
        match self {
            Line::At(line) => line,
            Line::NoLine | Line::Unknown => 0,
        }
    }
}

/// A table has a mark about every so many bytes: some 200 entries, a microsecond.
const MARK_BYTES: usize = 512;

/// Where the walk over a table stood between two entries.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Bytes of the table before it.
    at: usize,
    end: i64,
    line: i64,
}

/// Places in a table from which a walk can go on: a table that its owner made a megabyte long is walked once, and not once
/// for each instruction that is asked about.
#[derive(Clone, Default, Debug)]
pub struct LineMarks(Vec<Mark>);

impl LineTable {
    /// The line of the instruction at `index`, in code units of two bytes (2.7: in bytes). A frame that has not
    /// started has a negative index and stands on the first line (`PyCode_Addr2Line`, Objects/codeobject.c).
    pub fn line(&self, index: i32) -> Line {
        if index < 0 {
            return known(i64::from(self.first_line));
        }
        let offset = self.offset(index);
        self.runs().find(|run| offset < run.end).map_or(self.after_the_end(), |run| run.line)
    }

    /// Bytes from the start of the bytecode.
    fn offset(&self, index: i32) -> i64 {
        i64::from(index) * if self.kind == LINES_LNOTAB_2 { 1 } else { 2 }
    }

    /// The same as [`LineTable::line`], for whoever asks about many instructions of one table: what a walk has passed is not
    /// walked again. `marks` belong to this table, which may have grown since, and to no other.
    pub fn line_by(&self, index: i32, marks: &mut LineMarks) -> Line {
        if index < 0 {
            return known(i64::from(self.first_line));
        }
        let offset = self.offset(index);
        // Ends never go back, so all runs before a mark end where it stands or earlier.
        let passed = marks.0.partition_point(|mark| mark.end <= offset);
        let start = passed.checked_sub(1).and_then(|at| marks.0.get(at).copied());
        let mut runs = self.runs_from(start.unwrap_or(Mark { at: 0, end: 0, line: self.first_line.into() }));
        let mut marked = marks.0.last().map_or(0, |mark| mark.at);
        while let Some(run) = runs.next() {
            let at = self.bytes.len() - runs.rest.len();
            // At the end of what is there, an entry may be cut: the table can grow.
            if at >= marked + MARK_BYTES && !runs.rest.is_empty() && !runs.done {
                marks.0.push(Mark { at, end: runs.end, line: runs.line });
                marked = at;
            }
            if offset < run.end {
                return run.line;
            }
        }
        self.after_the_end()
    }

    /// All runs of instructions that share an entry, in order.
    fn runs(&self) -> Runs<'_> {
        self.runs_from(Mark { at: 0, end: 0, line: i64::from(self.first_line) })
    }

    fn runs_from(&self, mark: Mark) -> Runs<'_> {
        let Mark { at, end, line } = mark;
        let rest = self.bytes.get(at..).unwrap_or_default();
        Runs { kind: self.kind, rest, end, line, done: false, table: self }
    }

    /// What holds past the last entry: `co_lines()` ends there, a table that was cut does not say.
    fn after_the_end(&self) -> Line {
        if self.complete { Line::NoLine } else { Line::Unknown }
    }
}

fn known(line: i64) -> Line {
    // Lines are C ints; a negative one, like an overflowing one, can only come from a table made up by hand.
    match u32::try_from(line) {
        Ok(line) if line <= i32::MAX as u32 => Line::At(line),
        _ => Line::NoLine,
    }
}

/// Instructions up to (not including) `end`, a byte offset.
struct Run {
    end: i64,
    line: Line,
}

/// A walk over the entries. Every step consumes at least one byte of the table, so a hostile one cannot hold it up;
/// sums are of 64 bits, which 2^20 entries of 32 bits cannot overflow.
struct Runs<'a> {
    kind: u8,
    rest: &'a [u8],
    end: i64,
    line: i64,
    done: bool,
    table: &'a LineTable,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline]
    fn next(&mut self) -> Option<Run> {
        if self.done {
            return None;
        }
        match self.kind {
            LINES_LNOTAB | LINES_LNOTAB_2 => Some(self.lnotab()),
            LINES_PEP626 => self.pep626(),
            _ => self.pep657(),
        }
    }
}

impl Runs<'_> {
    /// Pairs (bytes to skip, then change of line, signed since 3.6): an entry tells where the line so far *ends*, and the last
    /// line holds to the end of the code (Objects/lnotab_notes.txt of 3.9).
    fn lnotab(&mut self) -> Run {
        let line = known(self.line);
        if let [skip, change, rest @ ..] = self.rest {
            self.rest = rest;
            self.end += i64::from(*skip);
            self.line +=
                if self.kind == LINES_LNOTAB_2 { i64::from(*change) } else { i64::from(*change as i8) };
            return Run { end: self.end, line };
        }
        self.done = true;
        Run { end: i64::MAX, line: if self.table.complete { line } else { Line::Unknown } }
    }

    /// Pairs (bytes covered, signed change of line *before* them); -128 is "no line" and leaves the running line
    /// alone (Objects/lnotab_notes.txt of 3.10).
    fn pep626(&mut self) -> Option<Run> {
        let [covered, change, rest @ ..] = self.rest else {
            return None;
        };
        self.rest = rest;
        self.end += i64::from(*covered);
        let line = match *change as i8 {
            i8::MIN => Line::NoLine,
            change => {
                self.line += i64::from(change);
                known(self.line)
            }
        };
        Some(Run { end: self.end, line })
    }

    /// Entries that start with a byte `1 code:4 length-1:3`; the bytes up to the next such byte are columns, which
    /// nobody asks for here, or begin with a signed change of line (Objects/locations.md, `get_line_delta` in
    /// Objects/codeobject.c).
    fn pep657(&mut self) -> Option<Run> {
        let (&head, rest) = self.rest.split_first()?;
        self.end += (i64::from(head & 7) + 1) * 2;
        let change = match (head >> 3) & 15 {
            // No location. The running line is kept: the next entry counts from it.
            15 => None,
            13 | 14 => match signed_varint(rest) {
                Some(change) => Some(change),
                None => {
                    self.done = true;
                    return Some(Run { end: i64::MAX, line: Line::Unknown });
                }
            },
            code @ 10..=12 => Some(i64::from(code - 10)),
            _ => Some(0),
        };
        let columns = rest.iter().position(|byte| byte & 0x80 != 0).unwrap_or(rest.len());
        self.rest = rest.get(columns..).unwrap_or_default();
        let line = change.map_or(Line::NoLine, |change| {
            self.line += change;
            known(self.line)
        });
        Some(Run { end: self.end, line })
    }
}

/// Six bits per byte, lowest first, bit 6 for "more"; the lowest bit of the sum is the sign. `None` where it breaks
/// off or does not fit a C int.
fn signed_varint(bytes: &[u8]) -> Option<i64> {
    let mut value = 0u64;
    // Six bytes carry 36 bits: CPython never writes more for the 33 that it needs.
    for (byte, shift) in bytes.iter().take(6).zip((0..).step_by(6)) {
        if byte & 0x80 != 0 {
            return None;
        }
        value |= u64::from(byte & 63) << shift;
        if byte & 64 == 0 {
            let size = (value >> 1) as i64;
            let change = if value & 1 != 0 { -size } else { size };
            return i32::try_from(change).ok().map(i64::from);
        }
    }
    None
}
