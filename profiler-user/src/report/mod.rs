//! What the user reads: pure functions from facts to text, for a terminal of a given width.
//!
//! Every name in it comes from a target and is escaped; the caller decides where the text goes.

mod account;
mod columns;
mod hottest;
mod lines;
mod table;
mod unsupported;

pub use account::{Account, captured_line, cost_line};
pub use hottest::hottest;
pub use lines::{Live, live_line, open_line, start_line};
pub use table::{Row, table};
pub use unsupported::unsupported;

use crate::profile::{OwnCost, Profile};
use std::path::Path;

/// Rows of the table at the end; the rest is counted in one line.
pub const MAX_ROWS: usize = 20;

/// Everything that is printed at the end. `profiles`: each with the name of its file, if it was written.
pub fn summary<'a>(
    profiles: impl IntoIterator<Item = (&'a Profile, Option<&'a str>)>,
    missing_ns: u64,
    own_cost: &OwnCost,
    directory: &Path,
    width: usize,
) -> String {
    let mut profiles: Vec<_> = profiles.into_iter().collect();
    profiles.sort_by_key(|(profile, _)| std::cmp::Reverse(profile.total().weight_ns));
    let mut text = table(profiles.iter().map(|(profile, _)| Row::of(profile)).collect(), width, MAX_ROWS);
    if let Some((profile, _)) = profiles.first() {
        text.push('\n');
        text.push_str(&hottest(profile, width));
    }
    let account = Account::of(profiles.iter().map(|(profile, _)| *profile), missing_ns);
    text.push_str(&format!("\n{}\n{}\n", captured_line(&account), cost_line(own_cost)));
    if let Some((_, Some(file))) = profiles.first() {
        text.push_str(&open_line(directory, file));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
