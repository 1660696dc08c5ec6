//! The hottest process: its top functions, as a first answer before any tool is opened.

use super::columns::{Align, cut, cut_start, pad, percent};
use super::table::title;
use crate::escape::escape;
use crate::profile::{Profile, TopFunction};
use unicode_width::UnicodeWidthStr;

const FUNCTIONS: usize = 5;
/// `  61.2     61.2  ` before each name.
const NUMBERS_WIDTH: usize = 19;

/// The functions with the most own time: shares of the process's CPU time, and where that time goes.
pub fn hottest(profile: &Profile, width: usize) -> String {
    let process = profile.process();
    let title = format!("Hottest: {} (pid {})", escape(&title(process)), process.pid);
    let mut text = format!("{}\n", cut(&title, width));
    text.push_str(&format!("{}\n", cut("  own %  total %  function", width)));
    let all_ns = profile.total().weight_ns;
    let top = profile.top_functions(FUNCTIONS);
    let names: Vec<_> = top.iter().map(|function| escape(&function.name)).collect();
    // Names may take half of the room, so that places keep the other half.
    let room = width.saturating_sub(NUMBERS_WIDTH);
    let name_width = names.iter().map(|name| name.width()).max().unwrap_or(0).min(room / 2);
    for (function, name) in top.iter().zip(&names) {
        let TopFunction { name: _, file, line, own_ns, total_ns } = function;
        let own = pad(&percent(*own_ns, all_ns), 7, Align::Right);
        let total = pad(&percent(*total_ns, all_ns), 9, Align::Right);
        let name = pad(&cut(name, name_width), name_width, Align::Left);
        let place = if file.is_empty() { String::new() } else { format!("{}:{line}", escape(file)) };
        let place = cut_start(&place, room.saturating_sub(name_width + 1));
        let row = format!("{own}{total}  {name}  {place}");
        text.push_str(&format!("{}\n", cut(row.trim_end(), width)));
    }
    text
}
