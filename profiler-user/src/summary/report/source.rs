//! Source files with the time of their lines.

use super::super::columns::{Align, cut, cut_start, pad};
use super::units::unit;
use super::{fit, more};
use crate::escape::escape;
use crate::profile::{Measure, Total};
use crate::report::SourceFile;

/// Columns of an indentation that is a tab.
const TAB: &str = "    ";

pub fn source(files: &[SourceFile], measure: &Measure, all: Total, limit: usize, width: usize) -> String {
    let unit = unit(&measure.weight.unit, all.weight_ns);
    let mut text = String::new();
    let shown = &files[..files.len().min(limit)];
    let number = |total: Total| match total {
        Total { samples: 0, weight_ns: 0 } => ".".to_owned(),
        total => unit.number(total.weight_ns),
    };
    for file in shown {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{}\n", cut_start(&escape(&file.path), width)));
        if let Some(why) = &file.missing {
            text.push_str(&fit(&format!("(no source: {})", escape(why)), width));
        }
        let numbers = file.lines.iter().flat_map(|line| [number(line.own), number(line.total)]);
        let heads = [unit.head("OWN"), unit.head("TOTAL")];
        let cell = numbers.map(|number| number.len()).max().unwrap_or(0).max(heads[1].len());
        let last = file.lines.last().map_or(0, |line| line.line);
        let line_width = last.to_string().len().max(4);
        let row = |own: &str, total: &str, line: &str, text: &str| {
            let [own, total] = [own, total].map(|text| pad(text, cell, Align::Right));
            let before = format!("{own}  {total}  {}  ", pad(line, line_width, Align::Right));
            let text = escape(&text.replace('\t', TAB)).into_owned();
            fit(&format!("{before}{}", cut(&text, width.saturating_sub(before.len()))), width)
        };
        text.push_str(&row(&heads[0], &heads[1], "LINE", ""));
        for line in &file.lines {
            if line.after_gap {
                text.push_str(&row("", "", "\u{2026}", ""));
            }
            let at = if line.line == 0 { "-".to_owned() } else { line.line.to_string() };
            text.push_str(&row(&number(line.own), &number(line.total), &at, &line.text));
        }
    }
    text + &more(files.len() - shown.len(), width)
}
