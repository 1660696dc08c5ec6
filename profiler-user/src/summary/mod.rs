//! What the user reads: pure functions from facts to text, for a terminal of a given width.
//!
//! Every name in it comes from a target and is escaped; the caller decides where the text goes.

mod account;
pub(crate) mod columns;
mod hottest;
mod lines;
mod mark;
pub mod report;
mod shown;
mod table;
mod unsupported;
mod waits;

pub use account::{Account, captured_line, cost_line};
pub use hottest::hottest;
pub use lines::{Live, live_line, open_line, start_line};
pub use mark::mark;
pub use shown::Shown;
pub(crate) use table::title;
pub use table::{Row, table};
pub use unsupported::unsupported;
pub use waits::{Wait, waits, waits_of};

use crate::encode::Format;
use crate::profile::{OwnCost, Profile};
use std::path::Path;

/// Rows of the table at the end; the rest is counted in one line.
pub const MAX_ROWS: usize = 20;

/// Everything that is printed at the end. `profiles`: each with the name of its file, if it was written; `earlier`: of those
/// that were written before; then where these are, and what.
pub fn whole<'a>(
    profiles: impl IntoIterator<Item = (&'a Profile, Option<&'a str>)>,
    earlier: &Shown,
    missing_ns: u64,
    off_cpu: Vec<Wait>,
    own_cost: &OwnCost,
    (directory, format): (&Path, Format),
    width: usize,
) -> String {
    let mut profiles: Vec<_> = profiles.into_iter().collect();
    profiles.sort_by_key(|(profile, _)| std::cmp::Reverse(profile.total().weight_ns));
    let rows = earlier.rows.iter().cloned().chain(profiles.iter().map(|(profile, _)| Row::of(profile)));
    let mut text = table(rows.collect(), width, (MAX_ROWS, earlier.hidden));
    let first = profiles.first().map(|(profile, file)| (profile.total().weight_ns, *profile, *file));
    let before = earlier.hottest.as_ref();
    let before = before.filter(|before| first.is_none_or(|(cpu_ns, ..)| before.cpu_ns >= cpu_ns));
    let mut file = first.and_then(|(_, _, file)| file);
    if let Some(before) = before {
        file = before.file.as_deref();
        text.push('\n');
        before.text.lines().for_each(|line| text.push_str(&format!("{}\n", columns::cut(line, width))));
    } else if let Some((_, profile, _)) = first.filter(|(cpu_ns, ..)| *cpu_ns > 0) {
        text.push('\n');
        text.push_str(&hottest(profile, width));
    }
    let waited = waits(profiles.iter().map(|(profile, _)| profile.process()), off_cpu, width);
    if !waited.is_empty() {
        text.push_str(&format!("\n{waited}"));
    }
    let mut account = Account::of(profiles.iter().map(|(profile, _)| *profile), missing_ns);
    account.merge(&earlier.account);
    text.push_str(&format!("\n{}\n{}\n", captured_line(&account), cost_line(own_cost)));
    let off_cpu = profiles.iter().filter_map(|(profile, _)| profile.process().off_cpu.as_ref());
    let waited_most =
        off_cpu.filter(|off_cpu| off_cpu.file.is_some()).max_by_key(|off_cpu| off_cpu.blocked_ns);
    for file in file.into_iter().chain(waited_most.and_then(|off_cpu| off_cpu.file.as_deref())) {
        // Of several formats another may have failed.
        let format = Format::of_file(file).unwrap_or(format);
        text.push_str(&open_line(&directory.join(file), format));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
