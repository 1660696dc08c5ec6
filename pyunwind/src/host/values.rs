//! Local variables of a frame, and short texts of their values. Values may be anything and may change while they are read
//! (only the frame's thread is known to stand still): reads, lengths and depths are bounded, and only objects of the
//! interpreter's own types are looked into. No code of the target runs, so there is no `repr` of other classes.
//!
//! Sources: `Include/frameobject.h` (3.10 and older), `Include/internal/pycore_frame.h`, `Include/cpython/code.h`,
//! `Include/internal/pycore_code.h` (kinds of names), `Include/internal/pycore_stackref.h`, `Include/cpython/longintrepr.h`,
//! `Include/cpython/tupleobject.h`, `Include/cpython/listobject.h`, `Include/cpython/dictobject.h`, `Include/setobject.h`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use super::bounded::Bounded;
use super::code_object::{read_bytes, str_at, word32};
use super::dict::Objects;
use super::strings::CUT_MARK;
use crate::layout::{FRAME_HEAP, TEXT_UNICODE};
use crate::text::StrShape;
use crate::{Addr, Fault, Layout, Memory};

/// Variables of one frame.
const MAX_LOCALS: u64 = 64;
/// Reads for all variables of one frame.
const MAX_READS: u32 = 4_000;
/// Characters shown of a string, or of anything else together.
const MAX_CHARS: u64 = 64;
const MAX_TEXT_BYTES: usize = 240;
/// Elements shown of a container, and how deep.
const MAX_ELEMENTS: u64 = 4;
const MAX_DEPTH: u32 = 2;
/// Digits of 30 bits that an `i128` has room for.
const MAX_DIGITS: u64 = 4;
const MAX_TYPE_NAME: usize = 64;

/// `Py_TPFLAGS_HEAPTYPE`, `Py_TPFLAGS_TYPE_SUBCLASS` (`Include/object.h`).
const HEAP_TYPE: u64 = 1 << 9;
const TYPE_SUBCLASS: u64 = 1 << 31;

/// Set in all three low bits of what stands on a stack instead of a pointer: a small number (3.14+, `Py_INT_TAG`).
const INT_TAG: u64 = 3;

/// A variable that has a value now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    pub name: String,
    /// As `type(value).__name__`.
    pub kind: String,
    /// As `repr` for the interpreter's own types, shortened; `<Name at 0x...>` for others.
    pub value: String,
}

/// Where the variables of one build are.
#[derive(Clone, Copy, Debug)]
pub struct Values {
    layout: Layout,
    objects: Objects,
    head: u64,
    /// From the frame to its variables.
    localsplus: u64,
    /// From a tuple to its first item.
    tuple_items: u64,
}

impl Values {
    /// `None` for versions whose objects are not known (2.7).
    pub fn of(memory: &mut impl Memory, layout: &Layout, runtime: Addr) -> Option<Values> {
        let objects = Objects::of(layout)?;
        if layout.text != TEXT_UNICODE {
            return None;
        }
        // `interpreter_frame.localsplus` in `_Py_DebugOffsets`.
        let told = |memory: &mut _, at| Memory::word(memory, runtime.offset(at)).ok();
        let localsplus = match layout.minor {
            6 => 376,
            7..=9 => 360,
            10 => 352,
            11 | 12 => 72,
            13 => told(memory, 256)?,
            14 => told(memory, 280)?,
            15 => told(memory, 344)?,
            _ => return None,
        };
        if !localsplus.is_multiple_of(8) || localsplus > 512 {
            return None;
        }
        let head = objects.head();
        // From 3.14 on a tuple has its hash in front.
        let tuple_items = head + if layout.minor >= 14 { 16 } else { 8 };
        Some(Values { layout: *layout, objects, head, localsplus, tuple_items })
    }

    /// The variables of the frame at `frame`, which runs `code`: arguments first; those without a value are left out.
    pub fn locals(&self, memory: &mut impl Memory, frame: Addr, code: Addr) -> Vec<Local> {
        let mut memory = Bounded::new(memory, MAX_READS);
        let mut locals = Vec::new();
        let tuples: &[u64] = if self.layout.frame_kind == FRAME_HEAP {
            // co_varnames, co_freevars, co_cellvars, co_cell2arg, co_filename; in the frame cells come before free variables.
            &[32, 16, 24]
        } else {
            // co_localsplusnames, co_localspluskinds, co_filename.
            &[16]
        };
        let mut at = frame.offset(self.localsplus);
        for before in tuples {
            let names = code.offset(u64::from(self.layout.code_filename).wrapping_sub(*before));
            let Ok(count) = self.some(&mut memory, names, at, &mut locals) else { break };
            at = at.offset(count.saturating_mul(8));
        }
        locals
    }

    /// The variables whose names are in the tuple that `names` points to, and whose values begin at `values`; their number.
    fn some(
        &self,
        memory: &mut impl Memory,
        names: Addr,
        values: Addr,
        locals: &mut Vec<Local>,
    ) -> Result<u64, Fault> {
        let names = self.pointer(memory, names)?;
        let count = memory.word(names.offset(self.head))?;
        for index in 0..count.min(MAX_LOCALS) {
            if locals.len() as u64 >= MAX_LOCALS {
                break;
            }
            let name = self.pointer(memory, names.offset(self.tuple_items + index * 8))?;
            let bits = memory.word(values.offset(index * 8))?;
            if let Some((kind, value)) = self.variable(memory, bits)
                && let Ok(name) = str_at(memory, &self.layout, name, "name")
            {
                let name = name.chars().take(MAX_CHARS as usize).collect();
                locals.push(Local { name, kind, value });
            }
        }
        Ok(count)
    }

    /// Type and text of what a variable holds: an object, a cell with one, nothing.
    fn variable(&self, memory: &mut impl Memory, bits: u64) -> Option<(String, String)> {
        if self.layout.frame_code_tag != 0 && bits & INT_TAG == INT_TAG {
            return Some(("int".into(), ((bits as i64) >> 2).to_string()));
        }
        let mut object = Addr(bits & !u64::from(self.layout.frame_code_tag));
        if object.is_null() {
            return None;
        }
        if self.class(memory, object).is_ok_and(|class| class.is_own("cell")) {
            object = Addr(memory.word(object.offset(self.head)).ok()?);
            if object.is_null() {
                return None;
            }
        }
        let kind = self.class(memory, object).map_or("?".to_string(), |class| class.name);
        let mut text = String::new();
        self.show(memory, object, MAX_DEPTH, &mut text);
        Some((kind, text))
    }

    fn pointer(&self, memory: &mut impl Memory, at: Addr) -> Result<Addr, Fault> {
        let pointer = Addr(memory.word(at)?);
        if pointer.is_null() || !pointer.is_aligned() { Err(Fault) } else { Ok(pointer) }
    }

    fn class(&self, memory: &mut impl Memory, object: Addr) -> Result<Class, Fault> {
        if !object.is_aligned() {
            return Err(Fault);
        }
        let class = self.pointer(memory, object.offset(self.layout.object_type.into()))?;
        let flags = memory.word(class.offset(self.head + 152))?;
        Ok(Class { name: self.type_name(memory, class)?, flags })
    }

    /// `tp_name`, without the module that some have in front.
    fn type_name(&self, memory: &mut impl Memory, class: Addr) -> Result<String, Fault> {
        let at = Addr(memory.word(class.offset(self.head + 8))?);
        let mut name = Vec::new();
        // Word by word: what follows the end may not be there.
        let mut word_at = Addr(at.0 & !7);
        let mut skip = (at.0 & 7) as usize;
        while name.len() < MAX_TYPE_NAME {
            let bytes = memory.word(word_at)?.to_le_bytes();
            let bytes = &bytes[skip..];
            let end = bytes.iter().position(|byte| *byte == 0);
            name.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if end.is_some() {
                break;
            }
            (word_at, skip) = (word_at.offset(8), 0);
        }
        let name = String::from_utf8_lossy(&name);
        Ok(name.rsplit('.').next().unwrap_or_default().to_string())
    }

    /// Appends what is to be shown of an object. What cannot be read is a question mark.
    fn show(&self, memory: &mut impl Memory, object: Addr, depth: u32, text: &mut String) {
        if text.len() > MAX_TEXT_BYTES {
            text.push(CUT_MARK);
            return;
        }
        let length = text.len();
        if self.try_show(memory, object, depth, text).is_err() {
            text.truncate(length);
            text.push('?');
        }
    }

    fn try_show(
        &self,
        memory: &mut impl Memory,
        object: Addr,
        depth: u32,
        text: &mut String,
    ) -> Result<(), Fault> {
        let class = self.class(memory, object)?;
        let body = object.offset(self.head);
        if class.flags & TYPE_SUBCLASS != 0 {
            let name = self.type_name(memory, object)?;
            let _ = write!(text, "<class '{name}'>");
            return Ok(());
        }
        if class.flags & HEAP_TYPE == 0 {
            match class.name.as_str() {
                "NoneType" => text.push_str("None"),
                "ellipsis" => text.push_str("Ellipsis"),
                "NotImplementedType" => text.push_str("NotImplemented"),
                "bool" => {
                    text.push_str(if word32(memory, body.offset(8))? != 0 { "True" } else { "False" });
                }
                "int" => text.push_str(&self.int(memory, body)?),
                "float" => text.push_str(&float(f64::from_bits(memory.word(body)?))),
                "str" => self.string(memory, object, text)?,
                "bytes" => self.bytes(memory, object, text)?,
                "list" => {
                    let items = Addr(memory.word(body.offset(8))?);
                    self.items(memory, body, items, "[", "]", depth, text)?;
                }
                "tuple" => {
                    let items = object.offset(self.tuple_items);
                    self.items(memory, body, items, "(", ")", depth, text)?;
                }
                "dict" => self.dict(memory, object, depth, text)?,
                "set" | "frozenset" => {
                    let used = memory.word(body.offset(8))?;
                    let _ = write!(text, "<{} of {used} at {:#x}>", class.name, object.0);
                }
                name => {
                    let _ = write!(text, "<{name} at {:#x}>", object.0);
                }
            }
            return Ok(());
        }
        let _ = write!(text, "<{} at {:#x}>", class.name, object.0);
        Ok(())
    }

    /// `ob_size` with the sign up to 3.11, `lv_tag` from 3.12 on; then digits of 30 bits.
    fn int(&self, memory: &mut impl Memory, body: Addr) -> Result<String, Fault> {
        let word = memory.word(body)?;
        let (count, negative) = match self.layout.minor {
            12.. => (word >> 3, word & 3 == 2),
            _ => ((word as i64).unsigned_abs(), (word as i64) < 0),
        };
        let count = if self.layout.minor >= 12 && word & 3 == 1 { 0 } else { count };
        if count > MAX_DIGITS {
            return Ok(format!("<int of some {} bits>", count.saturating_mul(30)));
        }
        let mut value: i128 = 0;
        for digit in (0..count).rev() {
            let digit = word32(memory, body.offset(8 + digit * 4))? & 0x3fff_ffff;
            value = (value << 30) | i128::from(digit);
        }
        Ok((if negative { -value } else { value }).to_string())
    }

    fn string(&self, memory: &mut impl Memory, object: Addr, text: &mut String) -> Result<(), Fault> {
        let chars = memory.word(object.offset(self.layout.str_length.into()))?;
        let state = word32(memory, object.offset(self.layout.str_state.into()))?;
        let shape = StrShape::from_state(state, &self.layout);
        if !shape.is_valid() {
            return Err(Fault);
        }
        let data = if shape.compact {
            object.offset(shape.compact_data(&self.layout).into())
        } else {
            Addr(memory.word(object.offset(self.layout.str_compact_data.into()))?)
        };
        let shown = chars.min(MAX_CHARS);
        let mut bytes = Vec::new();
        read_bytes(memory, data, shown * u64::from(shape.kind), &mut bytes)?;
        let decoded = super::strings::decode(shape, &bytes, shown);
        quote(decoded.chars(), text);
        self.rest(chars, shown, text);
        Ok(())
    }

    fn bytes(&self, memory: &mut impl Memory, object: Addr, text: &mut String) -> Result<(), Fault> {
        let size = memory.word(object.offset(self.layout.bytes_size.into()))?;
        let shown = size.min(MAX_CHARS);
        let mut bytes = Vec::new();
        read_bytes(memory, object.offset(self.layout.bytes_data.into()), shown, &mut bytes)?;
        text.push('b');
        let has = |byte: u8| bytes.contains(&byte);
        let quote = if has(b'\'') && !has(b'"') { '"' } else { '\'' };
        text.push(quote);
        for byte in bytes {
            push_escaped(char::from(byte), quote, |c| c.is_ascii() && !c.is_ascii_control(), text);
        }
        text.push(quote);
        self.rest(size, shown, text);
        Ok(())
    }

    /// Says how much there is where not all of it is shown.
    fn rest(&self, all: u64, shown: u64, text: &mut String) {
        if all > shown {
            let _ = write!(text, "{CUT_MARK} ({all})");
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn items(
        &self,
        memory: &mut impl Memory,
        body: Addr,
        items: Addr,
        open: &str,
        close: &str,
        depth: u32,
        text: &mut String,
    ) -> Result<(), Fault> {
        let count = memory.word(body)?;
        text.push_str(open);
        let shown = if depth == 0 { 0 } else { count.min(MAX_ELEMENTS) };
        for index in 0..shown {
            if index > 0 {
                text.push_str(", ");
            }
            let item = Addr(memory.word(items.offset(index * 8))?);
            self.show(memory, item, depth - 1, text);
        }
        if count == 1 && shown == 1 && open == "(" {
            text.push(',');
        }
        self.more(count, shown, text);
        text.push_str(close);
        Ok(())
    }

    /// Says, inside of its brackets, how many elements there are where not all are shown.
    fn more(&self, count: u64, shown: u64, text: &mut String) {
        if count > shown {
            let _ = write!(text, "{}{CUT_MARK} {count}", if shown > 0 { ", " } else { "" });
        }
    }

    fn dict(
        &self,
        memory: &mut impl Memory,
        object: Addr,
        depth: u32,
        text: &mut String,
    ) -> Result<(), Fault> {
        let used = memory.word(object.offset(self.head))?;
        let mut pairs = Vec::new();
        if depth > 0 && used > 0 {
            let table = self.objects.dict(memory, object)?;
            table.each(memory, |memory, entry| {
                let value = Addr(memory.word(entry.value_at)?);
                if !value.is_null() {
                    pairs.push((entry.key, value));
                }
                Ok((pairs.len() as u64) < MAX_ELEMENTS)
            })?;
        }
        text.push('{');
        let shown = pairs.len() as u64;
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            self.show(memory, key, 0, text);
            text.push_str(": ");
            self.show(memory, value, depth - 1, text);
        }
        self.more(used, shown, text);
        text.push('}');
        Ok(())
    }
}

struct Class {
    name: String,
    flags: u64,
}

impl Class {
    /// Whether it is the interpreter's own type of this name.
    fn is_own(&self, name: &str) -> bool {
        self.flags & HEAP_TYPE == 0 && self.name == name
    }
}

/// As `repr` of a string.
fn quote(chars: impl Iterator<Item = char> + Clone, text: &mut String) {
    let has = |wanted| chars.clone().any(|c| c == wanted);
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    text.push(quote);
    for c in chars {
        push_escaped(c, quote, |c| !c.is_control() && !matches!(c, '\u{a0}' | '\u{ad}'), text);
    }
    text.push(quote);
}

fn push_escaped(c: char, quote: char, plain: impl Fn(char) -> bool, text: &mut String) {
    let _ = match c {
        '\n' => text.write_str("\\n"),
        '\r' => text.write_str("\\r"),
        '\t' => text.write_str("\\t"),
        '\\' => text.write_str("\\\\"),
        c if c == quote => write!(text, "\\{c}"),
        c if plain(c) => text.write_char(c),
        c => write!(text, "\\x{:02x}", u32::from(c)),
    };
}

/// As `repr`: the shortest text that is this number, with an exponent below 1e-4 and from 1e16 on.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf".into() } else { "inf".into() };
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_the_interpreter_shows_them() {
        let rows = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.5, "1.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (2.5e-300, "2.5e-300"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in rows {
            assert_eq!(float(value), expected);
        }
    }

    #[test]
    fn strings_look_as_the_interpreter_shows_them() {
        let rows = [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("it's \"so\"", "'it\\'s \"so\"'"),
            ("a\nb\\\x1b", "'a\\nb\\\\\\x1b'"),
            ("na\u{ef}ve", "'na\u{ef}ve'"),
        ];
        for (value, expected) in rows {
            let mut text = String::new();
            quote(value.chars(), &mut text);
            assert_eq!(text, expected);
        }
    }
}
