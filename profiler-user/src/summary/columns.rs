//! Text in columns: widths as a terminal shows them, not bytes or characters.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Marks a place where something was cut.
const CUT: char = '\u{2026}';

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// `text` without its end where it is wider than `width`.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let mut kept: String = fitting(text.chars(), width).collect();
    if width > 0 {
        kept.push(CUT);
    }
    kept
}

/// `text` without its beginning: of a path, the end says most.
pub(crate) fn cut_start(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let mut kept: Vec<char> = fitting(text.chars().rev(), width).collect();
    if width > 0 {
        kept.push(CUT);
    }
    kept.into_iter().rev().collect()
}

/// The characters that leave one column free for the mark.
fn fitting(chars: impl Iterator<Item = char>, width: usize) -> impl Iterator<Item = char> {
    chars.scan(1, move |used, c| {
        *used += c.width().unwrap_or(0);
        (*used <= width).then_some(c)
    })
}

pub(crate) fn pad(text: &str, width: usize, align: Align) -> String {
    let fill = " ".repeat(width.saturating_sub(text.width()));
    match align {
        Align::Left => format!("{text}{fill}"),
        Align::Right => format!("{fill}{text}"),
    }
}

/// Digits in groups of three.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in percent with one digit, which says 0.0 only for nothing and 100.0 only for everything.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    match percent {
        _ if part > 0 && percent < 0.05 => "<0.1".into(),
        _ if part < whole && percent > 99.9 => "99.9".into(),
        _ => format!("{percent:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_its_width_on_a_terminal() {
        let rows = [
            ("plain", 5, "plain", "plain"),
            ("plain", 4, "pla\u{2026}", "\u{2026}ain"),
            ("plain", 1, "\u{2026}", "\u{2026}"),
            ("plain", 0, "", ""),
            ("\u{65e5}\u{672c}\u{8a9e}", 6, "\u{65e5}\u{672c}\u{8a9e}", "\u{65e5}\u{672c}\u{8a9e}"),
            ("\u{65e5}\u{672c}\u{8a9e}", 5, "\u{65e5}\u{672c}\u{2026}", "\u{2026}\u{672c}\u{8a9e}"),
            ("\u{65e5}\u{672c}\u{8a9e}", 4, "\u{65e5}\u{2026}", "\u{2026}\u{8a9e}"),
        ];
        for (text, width, start, end) in rows {
            assert_eq!(
                (cut(text, width).as_str(), cut_start(text, width).as_str()),
                (start, end),
                "{text} {width}"
            );
        }
        assert_eq!(pad("\u{65e5}", 4, Align::Right), "  \u{65e5}");
    }

    #[test]
    fn numbers() {
        for (count, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), expected);
        }
        let rows = [
            (0, 0, "-"),
            (0, 9, "0.0"),
            (1, 1_000_000, "<0.1"),
            (999_999, 1_000_000, "99.9"),
            (9, 9, "100.0"),
            (1, 3, "33.3"),
        ];
        for (part, whole, expected) in rows {
            assert_eq!(percent(part, whole), expected);
        }
    }
}
