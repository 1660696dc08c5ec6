//! The characters of a string and a captured code object, whatever its pieces claim of each other: held against a decoder
//! that does one character at a time.
#![no_main]

use pyprof_fuzz::alloc::within;
use pyprof_fuzz::input::Input;
use pyprof_fuzz::target;
use pyunwind::Layout;
use pyunwind::host::code_object::{CodeObject, Parts, RawStr};
use pyunwind::host::strings::{CUT_MARK, decode};
use pyunwind::host::versions;
use pyunwind::text::StrShape;

target!(seeds, check);

fn check(data: &[u8]) {
    let mut input = Input(data);
    let layout = match input.u8() % 8 {
        0 => versions::V2_7,
        minor => versions::layout(minor + 5).expect("3.6-3.12 have tables"),
    };
    let (state, first_line, table_bytes) = (input.u32(), input.i32(), input.u64());
    let chars = [input.u64(), u64::from(input.u16())];
    let (name_bytes, table_here) = (input.u8(), input.u8());
    let line_table = input.bytes(table_here.into());
    let name = RawStr { state, chars: chars[0], bytes: input.bytes(name_bytes.into()) };
    let file = RawStr { state: state.rotate_right(8), chars: chars[1], bytes: input.0 };
    let parts = || Parts {
        first_line,
        name,
        qualname: (state & 1 != 0).then_some(file),
        file,
        line_table,
        line_table_bytes: table_bytes,
    };
    // Two bytes of UTF-8 for each of Latin-1, three for each byte that is no UTF-8; vectors double.
    let object = within(16 * data.len() + 4096, || CodeObject::from_parts(&layout, parts()));
    assert_eq!(object.name, slowly(&layout, name));
    assert_eq!(object.file, slowly(&layout, file));
    let (bytes, wanted) = (object.lines.bytes.len() as u64, table_bytes.min(line_table.len() as u64));
    assert_eq!((bytes, object.lines.complete), (wanted, line_table.len() as u64 >= table_bytes));
}

fn slowly(layout: &Layout, raw: RawStr<'_>) -> String {
    let shape = StrShape::from_state(raw.state, layout);
    let mut text = String::new();
    if shape.bytes {
        let wanted = raw.chars.min(raw.bytes.len() as u64) as usize;
        for chunk in raw.bytes[..wanted].utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend((!chunk.invalid().is_empty()).then_some('\u{fffd}'));
        }
        text.extend((raw.chars > raw.bytes.len() as u64).then_some(CUT_MARK));
    } else {
        let width = if shape.is_valid() { usize::from(shape.kind) } else { raw.bytes.len() + 1 };
        let mut decoded = 0;
        while decoded < raw.chars {
            let at = decoded as usize * width;
            let Some(unit) = raw.bytes.get(at..at + width) else {
                text.push(CUT_MARK);
                break;
            };
            let number = unit.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
            text.push(char::from_u32(number).unwrap_or('\u{fffd}'));
            decoded += 1;
        }
    }
    assert!(text.chars().count() as u64 <= raw.chars.saturating_add(1), "more characters than there are");
    assert_eq!(decode(shape, raw.bytes, raw.chars), text);
    text
}

/// Texts of every width, whole, cut, and longer than they say.
fn seeds() -> Vec<Vec<u8>> {
    // 2.7, and the state words of compact strings: ASCII, Latin-1, UCS-2, UCS-4.
    let rows = [(0_u8, 0_u32, 1), (6, 0xe4, 1), (6, 0xa4, 1), (6, 0xa8, 2), (6, 0xb0, 4), (6, 0, 0)];
    let mut seeds = Vec::new();
    for (layout, state, width) in rows {
        let text: Vec<u8> = "naïve Ω 🐍 name".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        let text: Vec<u8> = text.chunks(4).flat_map(|unit| unit[..width.clamp(1, 4)].to_vec()).collect();
        for chars in [0, 5, 14, 1000] {
            let mut seed = vec![layout];
            seed.extend((state | state << 8).to_le_bytes());
            seed.extend(7_i32.to_le_bytes());
            seed.extend(4_u64.to_le_bytes());
            seed.extend(u64::to_le_bytes(chars));
            seed.extend((chars as u16).to_le_bytes());
            seed.extend([text.len() as u8, 4, 1, 2, 3, 4]);
            seed.extend(&text);
            seed.extend(&text);
            seeds.push(seed);
        }
    }
    seeds
}
