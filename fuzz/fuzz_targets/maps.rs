//! The text of `/proc/PID/maps`, held against a parser that goes byte by byte.
#![no_main]

use std::fs;

use profiler_user::process::maps::{Mapping, Maps, unescape};
use pyprof_fuzz::alloc::within;
use pyprof_fuzz::input::Input;
use pyprof_fuzz::target;

target!(seeds, check);

/// As many lines as are looked at, whatever else there is.
const MOST_LINES: usize = 65_536;
/// Of a text that is made of many copies of an input.
const MOST_BYTES: usize = 3 << 20;

fn check(data: &[u8]) {
    let mut input = Input(data);
    let times = input.times(MOST_BYTES);
    let text = input.0.repeat(times);
    let maps = Maps::of(text.clone(), 1);
    let mappings = within(0, || maps.iter().count());
    assert!(mappings <= MOST_LINES, "{mappings} mappings");
    // What comes after is the same once more.
    let lines = input.0.iter().filter(|byte| **byte == b'\n').count();
    let expected = text.split(|byte| *byte == b'\n').take(lines.min(MOST_LINES)).filter_map(slowly);
    for (mapping, expected) in maps.iter().zip(expected) {
        assert_eq!(mapping, expected);
        let name = unescape(mapping.path);
        let printed = mapping.path.strip_suffix(b" (deleted)").unwrap_or(mapping.path);
        let printed: Vec<&[u8]> = pieces(printed, b"\\012");
        assert_eq!(name, printed.join(&b'\n'));
    }
    if times == 1 {
        assert_eq!(mappings, text.split(|byte| *byte == b'\n').filter_map(slowly).count());
    }
}

/// `%08lx-%08lx rwxp %08llx %02x:%02x %lu` and a name (`show_vma_header_prefix`, `fs/proc/task_mmu.c`).
fn slowly(line: &[u8]) -> Option<Mapping<'_>> {
    let (mut words, mut at) = ([&line[..0]; 5], 0);
    for word in &mut words {
        at += line[at..].iter().take_while(|byte| **byte == b' ').count();
        let len = line[at..].iter().take_while(|byte| **byte != b' ').count();
        *word = &line[at..at + len];
        at += len;
    }
    at += line[at..].iter().take_while(|byte| **byte == b' ').count();
    let [span, flags, offset, device, inode] = words;
    let pair = |word: &[u8], between: u8| {
        let middle = word.iter().position(|byte| *byte == between)?;
        Some((number(&word[..middle], 16)?, number(&word[middle + 1..], 16)?))
    };
    let ((start, limit), (major, minor)) = (pair(span, b'-')?, pair(device, b':')?);
    if flags.len() != 4 || start >= limit || major >> 32 != 0 || minor >> 32 != 0 {
        return None;
    }
    Some(Mapping {
        start,
        limit,
        readable: flags[0] == b'r',
        writable: flags[1] == b'w',
        executable: flags[2] == b'x',
        private: flags[3] == b'p',
        offset: number(offset, 16)?,
        device: (major as u32, minor as u32),
        inode: number(inode.strip_prefix(b"+").unwrap_or(inode), 10)?,
        path: &line[at..],
    })
}

fn number(digits: &[u8], base: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(base as u32)?;
        number.checked_mul(base)?.checked_add(digit.into())
    })
}

fn pieces<'a>(text: &'a [u8], between: &[u8]) -> Vec<&'a [u8]> {
    let (mut pieces, mut begin, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        if text[at..].starts_with(between) {
            pieces.push(&text[begin..at]);
            at += between.len();
            begin = at;
        } else {
            at += 1;
        }
    }
    pieces.push(&text[begin..]);
    pieces
}

/// The mappings of this program, names as they can be, and more lines than are looked at.
fn seeds() -> Vec<Vec<u8>> {
    let mine = fs::read("/proc/self/maps").expect("own maps");
    let names: &[u8] = b"1000-2000 r-xp 00003000 fe:00 77     /a\\012b (deleted)\n\
        ffffffffff600000-ffffffffff601000 --xp 0 00:00 0 [vsyscall]\n0-1 rw-p 0 0:0 0\n";
    let many: &[u8] = b"0-1 rwxp 0 0:0 0\n0-2 rwxp 0 0:0 0\n";
    let once = [&mine[..mine.len().min(2048)], names, b"0-1 rwxp 0 0:0 0\n", b"\n"];
    once.iter().map(|text| [&[0], *text].concat()).chain([[&[255], many].concat()]).collect()
}
