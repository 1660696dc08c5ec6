//! The Pythons that were seen and not profiled, each with its reason: none is absent in silence.

use super::columns::{Align, cut, pad};
use crate::escape::escape;
use crate::profile::{Unsupported, UnsupportedProcess};
use unicode_width::UnicodeWidthStr;

/// Rows; the rest is counted.
const MAX_ROWS: usize = 20;
/// Widest name of a process; the reason gets what is left.
const MAX_NAME_WIDTH: usize = 28;

/// Empty where there is nothing to tell.
///
/// ```text
/// Not profiled:
///   4711  app.py  CPython 2.7.18
/// ```
pub fn unsupported(unsupported: &Unsupported, width: usize) -> String {
    let Unsupported { listed, more } = unsupported;
    let hidden = (listed.len().saturating_sub(MAX_ROWS) as u64).saturating_add(*more);
    if listed.is_empty() && hidden == 0 {
        return String::new();
    }
    let shown = &listed[..listed.len().min(MAX_ROWS)];
    let names: Vec<_> = shown.iter().map(|one| escape(&one.name)).collect();
    let name_width = names.iter().map(|name| name.width()).max().unwrap_or(0).min(MAX_NAME_WIDTH);
    let pid_width = shown.iter().map(|one| one.pid.to_string().len()).max().unwrap_or(0);
    let mut text = "Not profiled:\n".to_owned();
    for (UnsupportedProcess { pid, name: _, reason }, name) in shown.iter().zip(&names) {
        let pid = pad(&pid.to_string(), pid_width, Align::Right);
        let name = pad(&cut(name, name_width), name_width, Align::Left);
        let row = format!("  {pid}  {name}  {}", escape(reason));
        text.push_str(&format!("{}\n", cut(&row, width)));
    }
    if hidden > 0 {
        text.push_str(&format!("  \u{2026} and {hidden} more\n"));
    }
    text
}
