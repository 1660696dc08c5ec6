//! Text of a target on a terminal: names may hold anything, and a terminal obeys what it is sent.

use std::borrow::Cow;
use std::fmt::Write;

/// Control characters, and those that change the order or the visibility of what stands around them.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` with dangerous characters as `\x1b` or `\u{202e}`. Everything else, non-ASCII too, stands as it is.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push_escaped(&mut escaped, c);
    }
    Cow::Owned(escaped)
}

/// JSON with dangerous characters in its strings as `\u202e`, which readers of JSON turn back. Those of ASCII the writer of the
/// JSON has escaped, or they are its own line breaks.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    let is_raw = |c: char| c >= '\x7f' && is_dangerous(c);
    if !json.contains(is_raw) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_raw(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The same as [`escape`] for bytes that need not be text: bytes that are not UTF-8 become `\xff`.
pub fn escape_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return escape(text);
    }
    let mut escaped = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_escaped(&mut escaped, c));
        for byte in chunk.invalid() {
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    Cow::Owned(escaped)
}

// Writing to a string cannot fail.
fn push_escaped(out: &mut String, c: char) {
    let _ = match c {
        c if !is_dangerous(c) => write!(out, "{c}"),
        c if c.is_ascii() => write!(out, "\\x{:02x}", c as u32),
        c => write!(out, "\\u{{{:x}}}", c as u32),
    };
}

/// A path as one word of a shell command that a user may copy.
pub fn shell_word(path: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=:@%,".contains(byte);
    let text = escape_bytes(path);
    if !path.is_empty() && path.iter().all(plain) {
        text.into_owned()
    } else if text.as_bytes() == path {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        // The one quoting in which shells understand escapes.
        let byte =
            |byte: &u8| if plain(byte) { char::from(*byte).to_string() } else { format!("\\x{byte:02x}") };
        format!("$'{}'", path.iter().map(byte).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let rows: &[(&[u8], &str)] = &[
            (b"plain <lambda>", "plain <lambda>"),
            ("na\u{ef}ve \u{1f40d} \u{65e5}".as_bytes(), "na\u{ef}ve \u{1f40d} \u{65e5}"),
            (b"\x1b[31mred\x07", "\\x1b[31mred\\x07"),
            (b"a\nb\tc\r\x7f\0", "a\\x0ab\\x09c\\x0d\\x7f\\x00"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            ("\u{202e}evil\u{2066}".as_bytes(), "\\u{202e}evil\\u{2066}"),
            (b"bad\xff\xfe\x1b.", "bad\\xff\\xfe\\x1b."),
            (b"", ""),
        ];
        for (bytes, expected) in rows {
            assert_eq!(escape_bytes(bytes), *expected);
        }
    }

    #[test]
    fn json_is_fit_for_a_terminal_and_means_the_same() {
        for text in
            ["plain", "na\u{ef}ve \u{1f40d}", "\x1b[31m\x7f\n\"\\", "\u{9b}31m\u{202e}\u{2028}\u{e0001}"]
        {
            let value = serde_json::json!({ "name": text, "more": [text] });
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let escaped = escape_json(&json);
                assert!(!escaped.replace('\n', "").contains(is_dangerous), "{escaped:?}");
                assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value, "{text:?}");
            }
        }
    }

    #[test]
    fn paths_can_be_pasted_into_a_shell() {
        let rows: &[(&[u8], &str)] = &[
            (b"./pyprof-web1/app.py-7.pb.gz", "./pyprof-web1/app.py-7.pb.gz"),
            (b"a b/c", "'a b/c'"),
            (b"it's", r"'it'\''s'"),
            (b"$(reboot)", "'$(reboot)'"),
            (b"a\nb", r"$'a\x0ab'"),
            (b"", "''"),
        ];
        for (path, expected) in rows {
            assert_eq!(shell_word(path), *expected);
        }
    }
}
