//! What is in colour where a terminal shows summaries and reports: heads, losses, and what grew or shrank.

use crate::colour::Ink;

/// Words with which the heads of tables begin.
const HEADS: [&str; 6] = ["OWN", "TOTAL", "PID", "LINE", "own %", "seconds"];

/// How much of a line, from its beginning, and in which colour.
pub fn mark(line: &str) -> Option<(usize, Ink)> {
    let (whole, text) = (line.trim_end().len(), line.trim());
    if HEADS.iter().any(|head| text.strip_prefix(head).is_some_and(|rest| rest.starts_with(' '))) {
        return Some((whole, Ink::Bold));
    }
    if line.starts_with("Losses: ") && text != "Losses: none" {
        return Some(("Losses".len(), Ink::Yellow));
    }
    // Of a difference: before, after, change.
    let mut cells = text.split_ascii_whitespace();
    let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit());
    if !cells.next().is_some_and(is_number) || !cells.next().is_some_and(is_number) {
        return None;
    }
    match cells.next()?.split_at_checked(1)? {
        ("+", change) if is_number(change) => Some((whole, Ink::Red)),
        ("-", change) if is_number(change) => Some((whole, Ink::Green)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_reports() {
        let rows = [
            ("OWN s  OWN %  FUNCTION\n", Some((22, Ink::Bold))),
            ("  PID  NAME\n", Some((11, Ink::Bold))),
            ("OWNER of all\n", None),
            ("Losses: none\n", None),
            ("Losses: ticks_missed 6\n", Some((6, Ink::Yellow))),
            ("  1.00  2.00  +1.00  +1.00  work  a.py:3\n", Some((40, Ink::Red))),
            ("  1.00  0.50  -0.50   0.00  work\n", Some((32, Ink::Green))),
            ("  1.00  1.00   0.00   0.00  work\n", None),
            (" 1.38   70.1     1.38     70.1  -x  a.py:3\n", None),
            ("1 2 +x\n", None),
            ("\n", None),
        ];
        for (line, expected) in rows {
            assert_eq!(mark(line), expected, "{line:?}");
        }
    }
}
