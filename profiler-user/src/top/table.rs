//! A table as it is shown: cells that are fit for a terminal, sorted and filtered, laid out for a width.

use unicode_width::UnicodeWidthStr;

use crate::escape::escape;
use crate::summary::columns::{Align, cut, cut_start, pad};

/// Columns that a terminal must have for two spaces between those of a table.
const ROOMY: usize = 100;

pub struct Column {
    pub head: &'static str,
    pub kind: Kind,
    /// Not shown where the terminal is narrower, or if this is not 0, where no row has anything in it.
    pub from_width: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Number,
    /// At most so wide; the last column takes what is left.
    Text(usize),
    /// The last column, too; its end says most.
    Path,
}

#[derive(Clone, Debug, Default)]
pub struct Cell {
    pub text: String,
    /// What it is sorted by, where it is a number.
    pub value: f64,
}

impl Cell {
    pub fn text(text: &str) -> Cell {
        Cell { text: escape(text).into_owned(), value: 0.0 }
    }

    pub fn count(count: u64) -> Cell {
        Cell { text: count.to_string(), value: count as f64 }
    }

    /// `part` in percent of `whole`.
    pub fn percent(part: u64, whole: u64) -> Cell {
        let value = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
        let text = if part > 0 && value < 0.05 { "<0.1".into() } else { format!("{value:.1}") };
        Cell { text, value }
    }

    /// Not known.
    pub fn none() -> Cell {
        Cell { text: "-".into(), value: -1.0 }
    }

    pub fn is_none(&self) -> bool {
        self.value < 0.0
    }
}

#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What it is, from one refresh to the next.
    pub ident: String,
    pub cells: Vec<Cell>,
}

pub struct Table {
    pub columns: &'static [Column],
    /// In the order that is shown where nothing else is asked for.
    pub rows: Vec<Row>,
}

/// By which column, and whether the other way round: numbers come from the biggest, texts from A.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sort {
    pub column: usize,
    pub reversed: bool,
}

/// How wide each column is; `None` for one that is not shown.
pub struct Widths {
    columns: Vec<Option<usize>>,
    /// Between two of them.
    gap: usize,
}

fn gap(width: usize) -> usize {
    if width < ROOMY { 1 } else { 2 }
}

impl Table {
    /// The positions of the rows that pass the filter, in their order. A filter without a capital letter finds both cases.
    pub fn shown(&self, filter: &str, sort: Option<Sort>) -> Vec<usize> {
        let is_exact = filter.chars().any(char::is_uppercase);
        let matches = |row: &&Row| {
            filter.is_empty()
                || row.cells.iter().zip(self.columns).any(|(cell, column)| {
                    let is_text = column.kind != Kind::Number || column.head == "PID" || column.head == "TID";
                    is_text
                        && if is_exact {
                            cell.text.contains(filter)
                        } else {
                            cell.text.to_lowercase().contains(filter)
                        }
                })
        };
        let mut shown: Vec<usize> =
            (0..self.rows.len()).filter(|index| matches(&&self.rows[*index])).collect();
        if let Some(Sort { column, reversed }) = sort
            && let Some(Column { kind, .. }) = self.columns.get(column)
        {
            let cell = |index: usize| self.rows[index].cells.get(column);
            shown.sort_by(|a, b| {
                let (Some(a), Some(b)) = (cell(*a), cell(*b)) else { return std::cmp::Ordering::Equal };
                let order = match kind {
                    Kind::Number => b.value.total_cmp(&a.value),
                    Kind::Text(_) | Kind::Path => a.text.cmp(&b.text),
                };
                if reversed { order.reverse() } else { order }
            });
        }
        shown
    }

    /// On a terminal of so many columns.
    pub fn widths(&self, shown: &[usize], width: usize) -> Widths {
        let last = self.columns.len().saturating_sub(1);
        let mut widths: Vec<Option<usize>> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let cells = shown.iter().filter_map(|row| self.rows[*row].cells.get(index));
                let content = cells.map(|cell| cell.text.width()).max().unwrap_or(0);
                // The mark of the sorted column stands in place of a percent sign, or behind the head.
                let head = column.head.trim_end_matches('%').width() + 1;
                let is_empty = column.from_width > 0 && content == 0;
                let content = content.max(head);
                let most = match column.kind {
                    Kind::Number | Kind::Path => usize::MAX,
                    Kind::Text(_) if index == last => usize::MAX,
                    // Half as wide again for every hundred columns more than the smallest terminal has.
                    Kind::Text(most) => most + most * width.saturating_sub(80) / 200,
                };
                (width >= column.from_width && !is_empty).then_some(content.min(most))
            })
            .collect();
        let gap = gap(width);
        let used: usize = widths.iter().take(last).flatten().map(|width| width + gap).sum();
        if let Some(Some(rest)) = widths.last_mut() {
            *rest = width.saturating_sub(used);
        }
        Widths { columns: widths, gap }
    }

    pub fn head(&self, widths: &Widths, sort: Option<Sort>) -> String {
        let heads = self.columns.iter().enumerate().map(|(index, column)| {
            let is_sorted = sort.is_some_and(|sort| sort.column == index);
            if is_sorted { format!("{}*", column.head.trim_end_matches('%')) } else { column.head.to_owned() }
        });
        self.line(heads.collect::<Vec<_>>().iter().map(String::as_str), widths)
    }

    pub fn row(&self, index: usize, widths: &Widths) -> String {
        self.line(self.rows[index].cells.iter().map(|cell| cell.text.as_str()), widths)
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, widths: &Widths) -> String {
        let cells = cells.zip(&widths.columns).zip(self.columns);
        let cells = cells.filter_map(|((cell, width), column)| {
            let align = if column.kind == Kind::Number { Align::Right } else { Align::Left };
            let cut = if column.kind == Kind::Path { cut_start } else { cut };
            width.map(|width| pad(&cut(cell, width), width, align))
        });
        cells.collect::<Vec<_>>().join(&" ".repeat(widths.gap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column { head: "CPU%", kind: Kind::Number, from_width: 0 },
        Column { head: "WIDE", kind: Kind::Text(9), from_width: 60 },
        Column { head: "NAME", kind: Kind::Text(6), from_width: 0 },
        Column { head: "TOP", kind: Kind::Text(9), from_width: 0 },
    ];

    fn table() -> Table {
        let rows = [
            (12.5, "beta", "\u{65e5}\u{672c}\u{8a9e}\u{65e5}"),
            (100.0, "Alpha", "x"),
            (0.01, "\x1b[2J", "y"),
        ];
        let row = |(cpu, name, top): (f64, &str, &str)| Row {
            ident: name.into(),
            cells: vec![
                Cell::percent((cpu * 100.0) as u64, 10_000),
                Cell::text("w"),
                Cell::text(name),
                Cell::text(top),
            ],
        };
        Table { columns: COLUMNS, rows: rows.map(row).into() }
    }

    #[test]
    fn rows_are_filtered_and_sorted() {
        let table = table();
        let sort = |column, reversed| Some(Sort { column, reversed });
        let rows: [(&str, Option<Sort>, &[usize]); 9] = [
            ("", None, &[0, 1, 2]),
            ("", sort(0, false), &[1, 0, 2]),
            ("", sort(0, true), &[2, 0, 1]),
            ("", sort(2, false), &[1, 2, 0]),
            ("", sort(9, false), &[0, 1, 2]),
            ("alpha", None, &[1]),
            ("Beta", None, &[]),
            ("\u{672c}", None, &[0]),
            ("100", None, &[]),
        ];
        for (filter, sort, expected) in rows {
            assert_eq!(table.shown(filter, sort), expected, "{filter:?} {sort:?}");
        }
    }

    #[test]
    fn lines_are_as_wide_as_the_terminal_whatever_is_in_them() {
        let table = table();
        let shown = table.shown("", None);
        for width in [20, 30, 60, 80, 200] {
            let widths = table.widths(&shown, width);
            for line in shown.iter().map(|row| table.row(*row, &widths)).chain([table.head(&widths, None)]) {
                assert_eq!(line.width(), width, "{line:?}");
                assert!(!line.contains('\x1b'));
            }
        }
        let widths = table.widths(&shown, 24);
        let lines: Vec<String> = shown.iter().map(|row| table.row(*row, &widths)).collect();
        assert_eq!(
            lines,
            [
                " 12.5 beta   \u{65e5}\u{672c}\u{8a9e}\u{65e5}   ",
                "100.0 Alpha  x          ",
                " <0.1 \\x1b[\u{2026} y          "
            ]
        );
        assert_eq!(
            table.head(&widths, Some(Sort { column: 0, reversed: false })),
            " CPU* NAME   TOP        "
        );
    }
}
