//! Keys from the bytes that a terminal sends, at whatever places a network cuts them.

/// Bytes of a sequence that is not known to be whole; what is longer is no key.
const MAX_SEQUENCE: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Char(char),
    Enter,
    Escape,
    Tab,
    BackTab,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C
    Interrupt,
    /// Ctrl-Z
    Suspend,
    /// Ctrl-L
    Repaint,
}

/// What was read and is no whole key yet.
#[derive(Default)]
pub struct Keys {
    pending: Vec<u8>,
}

enum Step {
    /// So many bytes are a key, or nothing that anybody knows.
    Taken(usize, Option<Key>),
    /// More must come.
    Partial,
}

impl Keys {
    /// Takes what was read; the keys in it.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let mut at = 0;
        while let Some(rest) = self.pending.get(at..).filter(|rest| !rest.is_empty()) {
            match step(rest) {
                Step::Taken(length, key) => {
                    keys.extend(key);
                    at += length.max(1);
                }
                Step::Partial => break,
            }
        }
        self.pending.drain(..at.min(self.pending.len()));
        keys
    }

    /// Whether the next byte decides, or that none comes.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Nothing more came in time: an escape was the key of that name, and anything else was noise.
    pub fn give_up(&mut self) -> Option<Key> {
        let first = self.pending.first().copied();
        let is_alone = self.pending.len() == 1;
        self.pending.clear();
        (first == Some(0x1b) && is_alone).then_some(Key::Escape)
    }
}

fn step(bytes: &[u8]) -> Step {
    let one = |key| Step::Taken(1, Some(key));
    match bytes[0] {
        0x1b => escape(bytes),
        b'\r' | b'\n' => one(Key::Enter),
        b'\t' => one(Key::Tab),
        0x7f | 0x08 => one(Key::Backspace),
        0x03 => one(Key::Interrupt),
        0x1a => one(Key::Suspend),
        0x0c => one(Key::Repaint),
        byte if byte < 0x20 => Step::Taken(1, None),
        _ => character(bytes),
    }
}

fn character(bytes: &[u8]) -> Step {
    let length = match bytes[0] {
        0x00..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Step::Taken(1, None),
    };
    match bytes.get(..length).map(std::str::from_utf8) {
        Some(Ok(text)) => Step::Taken(length, text.chars().next().map(Key::Char)),
        Some(Err(_)) => Step::Taken(1, None),
        None => Step::Partial,
    }
}

/// `ESC [` or `ESC O`, numbers, and what ends it (ECMA-48 5.4; xterm's ctlseqs, "PC-Style Function Keys").
fn escape(bytes: &[u8]) -> Step {
    let Some(&second) = bytes.get(1) else { return Step::Partial };
    if second == 0x1b {
        return Step::Taken(1, Some(Key::Escape));
    }
    if second != b'[' && second != b'O' {
        // Alt and a key: nothing here.
        return Step::Taken(2, None);
    }
    // The Linux console sends F1 to F5 as ESC [ [ and a letter.
    let body = if bytes.get(2) == Some(&b'[') { 3 } else { 2 };
    let Some(length) = bytes[body.min(bytes.len())..].iter().position(|byte| (0x40..=0x7e).contains(byte))
    else {
        return if bytes.len() > MAX_SEQUENCE { Step::Taken(bytes.len(), None) } else { Step::Partial };
    };
    let (numbers, last) = (&bytes[body..body + length], bytes[body + length]);
    let number = numbers.split(|byte| *byte == b';').next().unwrap_or_default();
    let key = match (last, number) {
        _ if body == 3 => None,
        (b'A', _) => Some(Key::Up),
        (b'B', _) => Some(Key::Down),
        (b'C', _) => Some(Key::Right),
        (b'D', _) => Some(Key::Left),
        (b'H', _) | (b'~', b"1" | b"7") => Some(Key::Home),
        (b'F', _) | (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        (b'Z', _) => Some(Key::BackTab),
        // The keypad's Enter where it is in application mode.
        (b'M', b"") if second == b'O' => Some(Key::Enter),
        _ => None,
    };
    Step::Taken(body + length + 1, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_wherever_their_bytes_are_cut() {
        use Key::*;
        let rows: &[(&[u8], &[Key])] = &[
            (b"jq ", &[Char('j'), Char('q'), Char(' ')]),
            (b"\r\n\t\x7f\x08", &[Enter, Enter, Tab, Backspace, Backspace]),
            (b"\x03\x1a\x0c\x01", &[Interrupt, Suspend, Repaint]),
            (b"\x1b[A\x1b[B\x1b[C\x1b[D", &[Up, Down, Right, Left]),
            (b"\x1bOA\x1bOB\x1bOH\x1bOF", &[Up, Down, Home, End]),
            (
                b"\x1b[5~\x1b[6~\x1b[1~\x1b[4~\x1b[7~\x1b[8~\x1b[H\x1b[F",
                &[PageUp, PageDown, Home, End, Home, End, Home, End],
            ),
            (b"\x1b[Z\x1b[1;5A", &[BackTab, Up]),
            ("\u{e9}\u{65e5}\u{1f40d}".as_bytes(), &[Char('\u{e9}'), Char('\u{65e5}'), Char('\u{1f40d}')]),
            (b"\xff\xc3(a", &[Char('('), Char('a')]),
            (b"\x1b[[Aq\x1b[15~q\x1bxq", &[Char('q'), Char('q'), Char('q')]),
            (b"\x1b[200~x\x1b[<0;1;1Mq", &[Char('x'), Char('q')]),
            (b"\x1b\x1b[A", &[Escape, Up]),
        ];
        for (bytes, expected) in rows {
            for cut in 0..=bytes.len() {
                let mut keys = Keys::default();
                let mut got = keys.feed(&bytes[..cut]);
                got.extend(keys.feed(&bytes[cut..]));
                assert_eq!(got, *expected, "{bytes:?} cut at {cut}");
                assert!(!keys.is_waiting());
            }
        }
    }

    #[test]
    fn an_escape_alone_is_a_key_once_nothing_follows() {
        for (bytes, expected) in
            [(&b"\x1b"[..], Some(Key::Escape)), (b"\x1b[", None), (b"\xe6\x97", None), (b"", None)]
        {
            let mut keys = Keys::default();
            assert_eq!(keys.feed(bytes), []);
            assert_eq!(keys.is_waiting(), !bytes.is_empty());
            assert_eq!(keys.give_up(), expected, "{bytes:?}");
            assert!(!keys.is_waiting());
        }
        let mut keys = Keys::default();
        assert_eq!(keys.feed(&[b"\x1b[".as_slice(), &[b'1'; 1000]].concat()), []);
        assert!(!keys.is_waiting(), "what never ends is dropped");
    }
}
