//! Text of a report: pure functions from sums to what people read, for a terminal of a given width.

mod calls;
mod change;
mod head;
mod source;
mod top;
mod units;

pub use calls::calls;
pub use change::changes;
pub use head::{Head, head};
pub use source::source;
pub use top::top;

use super::columns::{Align, cut, cut_start, pad};
use crate::escape::escape;
use unicode_width::UnicodeWidthStr;

/// Widest name where the width is not that of a terminal.
const MAX_NAME_WIDTH: usize = 100;

/// `NAME  FILE:LINE` as the last columns of a table.
struct Names {
    room: usize,
    name_width: usize,
}

impl Names {
    /// `used`: columns before the names. Names get what places do not need, and half of the room in any case.
    fn fit<'a>(rows: impl Iterator<Item = (&'a str, String)>, width: usize, used: usize) -> Names {
        let room = width.saturating_sub(used);
        let widest = |(names, places): (usize, usize), (name, place): (&str, String)| {
            (names.max(escape(name).width()), places.max(escape(&place).width()))
        };
        let (names, places) = rows.fold((0, 0), widest);
        let most = (room / 2).max(room.saturating_sub(places + 2));
        Names { room, name_width: names.min(most).min(MAX_NAME_WIDTH) }
    }

    fn show(&self, name: &str, place: &str) -> String {
        let name = pad(&cut(&escape(name), self.name_width), self.name_width, Align::Left);
        let place = cut_start(&escape(place), self.room.saturating_sub(self.name_width + 2));
        format!("{name}  {place}").trim_end().to_owned()
    }
}

/// `FILE:LINE`, without what is not known.
fn place(file: &str, line: u32) -> String {
    match (file.is_empty(), line) {
        (true, _) => String::new(),
        (false, 0) => file.into(),
        (false, line) => format!("{file}:{line}"),
    }
}

/// A line that ends where the terminal does.
fn fit(line: &str, width: usize) -> String {
    format!("{}\n", cut(line.trim_end(), width))
}

/// `... and 7 more`, if there are.
fn more(hidden: usize, width: usize) -> String {
    if hidden == 0 {
        return String::new();
    }
    fit(&format!("\u{2026} and {hidden} more: --limit shows them"), width)
}

#[cfg(test)]
mod tests;
