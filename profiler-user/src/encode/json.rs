//! JSON that is written as it is made: a file of a million samples never exists in memory.

use crate::escape::escape;
use std::io::{self, Write};

/// `[a,b,c]`, each written by `item`.
pub(super) fn list<T>(
    writer: &mut dyn Write,
    items: impl IntoIterator<Item = T>,
    mut item: impl FnMut(&mut dyn Write, T) -> io::Result<()>,
) -> io::Result<()> {
    writer.write_all(b"[")?;
    for (index, one) in items.into_iter().enumerate() {
        if index > 0 {
            writer.write_all(b",")?;
        }
        item(writer, one)?;
    }
    writer.write_all(b"]")
}

/// `[1,2,3]`.
pub(super) fn numbers<T: std::fmt::Display>(
    writer: &mut dyn Write,
    items: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    list(writer, items, |writer, item| write!(writer, "{item}"))
}

/// A string. Readers show it as it is, and it may end up on a terminal: what is not fit for one is escaped. So is what
/// would end a script in HTML.
pub(super) fn string(writer: &mut dyn Write, text: &str) -> io::Result<()> {
    let json = serde_json::to_string(&escape(text))?;
    writer.write_all(json.replace('<', "\\u003c").as_bytes())
}

pub(super) fn strings<S: AsRef<str>>(
    writer: &mut dyn Write,
    items: impl IntoIterator<Item = S>,
) -> io::Result<()> {
    list(writer, items, |writer, item| string(writer, item.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_and_end_no_script() {
        let rows = [
            ("plain", "plain"),
            ("</script><script>alert(1)", "</script><script>alert(1)"),
            ("<!--", "<!--"),
            ("quote \" and \\", "quote \" and \\"),
            ("na\u{ef}ve \u{1f40d}", "na\u{ef}ve \u{1f40d}"),
            ("\x1b[31m\u{2028}", "\\x1b[31m\\u{2028}"),
        ];
        for (text, expected) in rows {
            let mut json = Vec::new();
            string(&mut json, text).unwrap();
            assert!(!json.contains(&b'<'), "{text:?}");
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), expected);
        }
        let mut json = Vec::new();
        list(&mut json, [[1, 2].as_slice(), &[]], |writer, item| numbers(writer, item)).unwrap();
        assert_eq!(json, b"[[1,2],[]]");
    }
}
