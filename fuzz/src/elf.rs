//! ELF files made by code, no larger than they must be: seeds that hold what discovery looks for, in every place where it
//! looks. Layouts: `elf.h`, System V ABI.

use crate::file;

/// From file offsets to addresses.
const BASE: u64 = 0x40_0000;
const HEAD_BYTES: usize = 64;
const SEGMENTS: usize = 4;
/// The least that a CPython has of writable data.
const WRITABLE_BYTES: u64 = 136 << 10;
const BUILD_ID: &[u8; 20] = b"twenty bytes of id!!";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Names {
    GnuHash,
    SysvHash,
    Symtab,
    Stripped,
}

/// What a file holds.
pub struct Spec<'a> {
    pub names: Names,
    /// A symbol and where it points to from the start of the writable data, or into the code.
    pub symbols: &'a [(&'a str, Place)],
    pub soname: &'a str,
    pub needed: &'a str,
    pub code: &'a [u8],
    /// Strings, each with its NUL.
    pub constants: &'a [u8],
    pub data: &'a [u8],
    /// A section of this name at the start of the writable data.
    pub section: &'a str,
}

#[derive(Clone, Copy)]
pub enum Place {
    Data(u64),
    Code,
}

/// Appends at a multiple of 8; where that is.
fn put(image: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    image.resize(image.len().next_multiple_of(8), 0);
    let at = image.len() as u64;
    image.extend(bytes);
    at
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn halves(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend(text.as_bytes());
        self.0.push(0);
        at
    }
}

/// The file as an input.
pub fn build(spec: &Spec<'_>) -> Vec<u8> {
    let mut image = vec![0; HEAD_BYTES + SEGMENTS * 56];
    let note = [&halves(&[4, BUILD_ID.len() as u32, 3])[..], b"GNU\0", BUILD_ID].concat();
    let note_at = put(&mut image, &note);
    let code_at = put(&mut image, spec.code);
    let constants_at = put(&mut image, spec.constants);
    let data_at = put(&mut image, spec.data);

    let mut strings = Strings(vec![0]);
    let mut table = vec![0; 24];
    for (name, place) in spec.symbols {
        let at = match place {
            Place::Data(offset) => data_at + offset,
            Place::Code => code_at,
        };
        // A global object in some section.
        table.extend(halves(&[strings.add(name), 0x0001_0011]));
        table.extend(words(&[BASE + at, 8]));
    }
    let (soname, needed) = (strings.add(spec.soname), strings.add(spec.needed));
    let strings_at = put(&mut image, &strings.0);
    let symbols_at = put(&mut image, &table);
    let count = spec.symbols.len() as u32;

    let mut dynamic: Vec<[u64; 2]> = Vec::new();
    if !spec.needed.is_empty() {
        dynamic.push([1, needed.into()]);
    }
    if !spec.soname.is_empty() {
        dynamic.push([14, soname.into()]);
    }
    dynamic.extend([[5, BASE + strings_at], [10, strings.0.len() as u64]]);
    match spec.names {
        Names::GnuHash => {
            let hash =
                |name: &str| name.bytes().fold(5381_u32, |h, b| h.wrapping_mul(33).wrapping_add(b.into()));
            // One bucket for all, a filter that lets everything through, and where the chain ends the lowest bit.
            let mut table = halves(&[1, 1, 1, 0, u32::MAX, u32::MAX, count.min(1)]);
            for (number, (name, _)) in (1..).zip(spec.symbols) {
                table.extend((hash(name) & !1 | u32::from(number == count)).to_le_bytes());
            }
            dynamic.push([0x6fff_fef5, BASE + put(&mut image, &table)]);
            dynamic.push([6, BASE + symbols_at]);
        }
        Names::SysvHash => {
            let chain = (0..=count).map(|number| if number == 0 || number == count { 0 } else { number + 1 });
            let table: Vec<u32> = [1, count + 1, count.min(1)].into_iter().chain(chain).collect();
            dynamic.push([4, BASE + put(&mut image, &halves(&table))]);
            dynamic.push([6, BASE + symbols_at]);
        }
        Names::Symtab | Names::Stripped => {}
    }
    dynamic.push([0, 0]);
    let dynamic_bytes: Vec<u8> = dynamic.iter().flat_map(|pair| words(pair)).collect();
    let dynamic_at = put(&mut image, &dynamic_bytes);

    let mut names = Strings(vec![0]);
    let mut sections = vec![0; 64];
    let mut section = |name: &str, kind: u32, at: u64, bytes: u64, link: u32| {
        sections.extend(halves(&[names.add(name), kind]));
        sections.extend(words(&[2, BASE + at, at, bytes]));
        sections.extend(halves(&[link, 0]));
        sections.extend(words(&[8, 24]));
    };
    section(".rodata", 1, constants_at, spec.constants.len() as u64, 0);
    section(".strtab", 3, strings_at, strings.0.len() as u64, 0);
    if !spec.section.is_empty() {
        section(spec.section, 1, data_at, spec.data.len() as u64, 0);
    }
    if spec.names == Names::Symtab {
        section(".symtab", 2, symbols_at, table.len() as u64, 2);
    }
    let names_at = put(&mut image, &names.0);
    let mut section = |at: u64, bytes: u64| {
        sections.extend(halves(&[0, 3]));
        sections.extend(words(&[0, 0, at, bytes]));
        sections.extend([0; 24]);
    };
    section(names_at, names.0.len() as u64);
    let sections_at = put(&mut image, &sections);
    let section_count = if spec.names == Names::Stripped { 0 } else { sections.len() / 64 };

    let head = &mut image[..HEAD_BYTES + SEGMENTS * 56];
    head[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    let machine = if cfg!(target_arch = "x86_64") { 62_u32 } else { 183 };
    head[16..24].copy_from_slice(&halves(&[3 | machine << 16, 1]));
    head[32..48].copy_from_slice(&words(&[HEAD_BYTES as u64, sections_at]));
    let halfwords =
        [64, 56, SEGMENTS as u16, 64, section_count as u16, (section_count as u16).saturating_sub(1)];
    for (at, word) in (52..).step_by(2).zip(halfwords) {
        head[at..at + 2].copy_from_slice(&word.to_le_bytes());
    }
    // All of it as constants, the data once more as what it is: writable, and more of it than is written here.
    let end = sections_at + sections.len() as u64;
    let segments: [(u32, u32, u64, u64); SEGMENTS] = [
        (1, 4, 0, end),
        (1, 6, data_at, WRITABLE_BYTES),
        (2, 6, dynamic_at, dynamic_bytes.len() as u64),
        (4, 4, note_at, note.len() as u64),
    ];
    for (number, (kind, flags, at, bytes)) in segments.into_iter().enumerate() {
        let entry = [halves(&[kind, flags]), words(&[at, BASE + at, BASE + at, bytes, bytes, 8])].concat();
        head[HEAD_BYTES + number * 56..][..56].copy_from_slice(&entry);
    }
    file::encode(end.max(data_at + WRITABLE_BYTES), false, &[(0, image)])
}
