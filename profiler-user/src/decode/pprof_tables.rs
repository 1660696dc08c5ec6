//! What samples refer to: strings, functions, locations, mappings. All of it is read before the first sample, because a file
//! may hold them in any order. Ids are whatever the writer chose; one that is used twice or is missing is an error.

use super::wire::{Fields, Value, numbers};
use super::{DecodeError, malformed};
use crate::encode::pprof_schema as schema;
use hashbrown::HashMap;
use prost::Message;
use std::borrow::Cow;
use std::ops::Range;

/// Entries of one table. The profile of a host with all native symbols has some hundred thousand.
const MAX_ENTRIES: usize = 2 << 20;
/// One sample or one location: 100,000 frames or labels. As a message in memory it takes up to sixteen times this.
const MAX_ENTRY_BYTES: usize = 1 << 20;
/// Of a string: four times what is kept of a name in a target. C++ has names that long.
const MAX_TEXT_BYTES: usize = 4096;
const MAX_COMMENTS: usize = 4096;
/// A writer with one value for each of a thousand kinds is none.
const MAX_TYPES: usize = 64;

/// A function as the file has it.
#[derive(Clone, Copy)]
pub(super) struct Function {
    pub(super) name: i64,
    pub(super) system_name: i64,
    pub(super) file: i64,
    pub(super) start_line: i64,
}

/// A location as the file has it: several lines where functions were inlined, leaf first.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) mapping: u64,
    pub(super) address: u64,
    lines: Range<usize>,
}

#[derive(Default)]
pub(super) struct Tables<'a> {
    strings: Vec<&'a [u8]>,
    functions: HashMap<u64, Function>,
    /// Positions in `places` by id.
    locations: HashMap<u64, u32>,
    places: Vec<Place>,
    lines: Vec<schema::Line>,
    mappings: HashMap<u64, schema::Mapping>,
    /// The main program stands first.
    pub(super) first_mapping: u64,
    pub(super) sample_types: Vec<schema::ValueType>,
    pub(super) default_sample_type: i64,
    pub(super) period_type: Option<schema::ValueType>,
    pub(super) period: i64,
    pub(super) time_nanos: i64,
    pub(super) duration_nanos: i64,
    pub(super) comments: Vec<i64>,
    /// Expressions that hide frames: not applied.
    pub(super) hides_frames: bool,
    pub(super) samples: usize,
}

impl<'a> Tables<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut tables = Tables::default();
        for field in Fields::of(message) {
            let (number, value) = field?;
            tables.field(number, value)?;
        }
        if tables.strings.first().is_none_or(|first| !first.is_empty()) {
            return Err(malformed("its table of strings does not begin with the empty string"));
        }
        if tables.sample_types.is_empty() {
            return Err(malformed("it names no sample type"));
        }
        Ok(tables)
    }

    fn field(&mut self, number: u64, value: Value<'a>) -> Result<(), DecodeError> {
        match (number, value) {
            (1, Value::Bytes(bytes)) => {
                room("sample types", self.sample_types.len(), MAX_TYPES)?;
                self.sample_types.push(entry("a sample type", bytes)?);
            }
            (2, Value::Bytes(_)) => self.samples += 1,
            (3, Value::Bytes(bytes)) => {
                room("mappings", self.mappings.len(), MAX_ENTRIES)?;
                let mapping: schema::Mapping = entry("a mapping", bytes)?;
                if self.mappings.is_empty() {
                    self.first_mapping = mapping.id;
                }
                unique("mapping", mapping.id, self.mappings.insert(mapping.id, mapping).is_none())?;
            }
            (4, Value::Bytes(bytes)) => self.location(entry("a location", bytes)?)?,
            (5, Value::Bytes(bytes)) => {
                room("functions", self.functions.len(), MAX_ENTRIES)?;
                let schema::Function { id, name, system_name, filename, start_line } =
                    entry("a function", bytes)?;
                let function = Function { name, system_name, file: filename, start_line };
                unique("function", id, self.functions.insert(id, function).is_none())?;
            }
            (6, Value::Bytes(bytes)) => {
                room("strings", self.strings.len(), MAX_ENTRIES)?;
                self.strings.push(bytes);
            }
            (7 | 8, Value::Number(text)) => self.hides_frames |= text != 0,
            (9, Value::Number(value)) => self.time_nanos = value as i64,
            (10, Value::Number(value)) => self.duration_nanos = value as i64,
            (11, Value::Bytes(bytes)) => self.period_type = Some(entry("a type of period", bytes)?),
            (12, Value::Number(value)) => self.period = value as i64,
            (13, value) => {
                let left = MAX_COMMENTS.saturating_sub(self.comments.len());
                self.comments.extend(numbers(value).take(left).map(|index| index as i64));
            }
            (14, Value::Number(value)) => self.default_sample_type = value as i64,
            (1..=14, _) => return Err(malformed(format!("field {number} is of another kind"))),
            // Of a later version of the format.
            _ => {}
        }
        Ok(())
    }

    fn location(&mut self, location: schema::Location) -> Result<(), DecodeError> {
        room("locations", self.places.len(), MAX_ENTRIES)?;
        let schema::Location { id, mapping_id, address, line } = location;
        room("lines", self.lines.len() + line.len(), 2 * MAX_ENTRIES)?;
        unique("location", id, self.locations.insert(id, self.places.len() as u32).is_none())?;
        let begin = self.lines.len();
        self.lines.extend(line);
        self.places.push(Place { mapping: mapping_id, address, lines: begin..self.lines.len() });
        Ok(())
    }

    /// Text of a target, as long as anybody reads it; what is no UTF-8 is replaced.
    pub(super) fn text(&self, index: i64) -> Result<Cow<'a, str>, DecodeError> {
        let bytes = usize::try_from(index).ok().and_then(|index| self.strings.get(index));
        let bytes = bytes.ok_or_else(|| malformed(format!("there is no string {index}")))?;
        if bytes.len() <= MAX_TEXT_BYTES {
            return Ok(String::from_utf8_lossy(bytes));
        }
        let cut = String::from_utf8_lossy(&bytes[..MAX_TEXT_BYTES]);
        Ok(format!("{}\u{2026}", cut.trim_end_matches('\u{fffd}')).into())
    }

    /// `None` for the id 0, which says that there is none.
    pub(super) fn function(&self, id: u64) -> Result<Option<Function>, DecodeError> {
        match self.functions.get(&id) {
            Some(function) => Ok(Some(*function)),
            None if id == 0 => Ok(None),
            None => Err(malformed(format!("there is no function {id}"))),
        }
    }

    /// The position of a location.
    pub(super) fn place_index(&self, id: u64) -> Result<u32, DecodeError> {
        self.locations.get(&id).copied().ok_or_else(|| malformed(format!("there is no location {id}")))
    }

    pub(super) fn place(&self, index: u32) -> (&Place, &[schema::Line]) {
        let place = &self.places[index as usize];
        (place, &self.lines[place.lines.clone()])
    }

    pub(super) fn mapping(&self, id: u64) -> Option<&schema::Mapping> {
        self.mappings.get(&id)
    }
}

/// One message that stands in the file.
pub(super) fn entry<M: Message + Default>(what: &'static str, bytes: &[u8]) -> Result<M, DecodeError> {
    if bytes.len() > MAX_ENTRY_BYTES {
        return Err(malformed(format!("{what} takes {} bytes", bytes.len())));
    }
    M::decode(bytes).map_err(|error| malformed(format!("{what}: {error}")))
}

fn room(what: &'static str, have: usize, most: usize) -> Result<(), DecodeError> {
    if have < most { Ok(()) } else { Err(DecodeError::TooMany { what, most }) }
}

fn unique(what: &str, id: u64, is_new: bool) -> Result<(), DecodeError> {
    match (id, is_new) {
        (0, _) => Err(malformed(format!("a {what} has the id 0"))),
        (_, false) => Err(malformed(format!("there are two of {what} {id}"))),
        _ => Ok(()),
    }
}
