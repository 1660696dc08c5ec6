//! What a report is about: when, how long, how much of it is shown, and what is missing from it.

use super::super::account::{Account, captured_line};
use super::super::columns::{cut, grouped, percent};
use super::units::unit;
use crate::escape::escape;
use crate::profile::{Loss, Measure, Total};
use crate::utc;

const MAX_COMMENTS: usize = 5;

#[derive(Clone, Debug)]
pub struct Head {
    /// Empty where no file says it.
    pub host: String,
    /// 0 where no file says it; so with the next two.
    pub start_unix_ns: u64,
    pub duration_ns: u64,
    pub frequency_hz: u32,
    pub files: usize,
    pub processes: usize,
    pub threads: usize,
    pub measure: Measure,
    pub all: Total,
    /// What the filters leave.
    pub selected: Total,
    /// Of CPU time that pyprof-bpf sampled.
    pub account: Option<Account>,
    /// `None`: of other tools, whose files do not tell.
    pub losses: Option<Vec<Loss>>,
    pub comments: Vec<String>,
}

/// Three lines and more; `title` stands before the first.
pub fn head(title: &str, head: &Head, width: usize) -> String {
    let mut lines = vec![format!("{title}{}", where_and_when(head)), how_much(head)];
    lines.extend(head.account.as_ref().map(captured_line));
    lines.push(match &head.losses {
        None => "Losses: these files do not tell".to_owned(),
        Some(losses) => format!("Losses: {}", losses_of(losses)),
    });
    let hidden = head.comments.len().saturating_sub(MAX_COMMENTS);
    lines.extend(head.comments.iter().take(MAX_COMMENTS).map(|it| format!("Comment: {}", escape(it))));
    lines.extend((hidden > 0).then(|| format!("\u{2026} and {hidden} more comments")));
    lines.iter().map(|line| format!("{}\n", cut(line, width))).collect()
}

fn where_and_when(head: &Head) -> String {
    let Head { host, start_unix_ns, duration_ns, frequency_hz, files, processes, threads, .. } = head;
    let mut parts: Vec<String> = Vec::new();
    parts.extend((!host.is_empty()).then(|| escape(host).into_owned()));
    parts.extend((*start_unix_ns != 0).then(|| utc::rfc3339(*start_unix_ns)));
    let rate = if *frequency_hz == 0 { String::new() } else { format!(" at {frequency_hz} Hz") };
    parts.extend((*duration_ns != 0).then(|| format!("{:.1} s{rate}", *duration_ns as f64 / 1e9)));
    let number = |count: usize, one: &str, many: &str| {
        format!("{} {}", grouped(count as u64), if count == 1 { one } else { many })
    };
    parts.push(number(*files, "file", "files"));
    // Other tools may not say which they are.
    parts.extend((*processes > 0).then(|| number(*processes, "process", "processes")));
    parts.extend((*threads > 0).then(|| number(*threads, "thread", "threads")));
    parts.join(", ")
}

/// `cpu: 3.37 of 8.43 s (40.0 %) in 332 samples`
fn how_much(head: &Head) -> String {
    let Head { measure, all, selected, .. } = head;
    let unit = unit(&measure.weight.unit, all.weight_ns);
    let name = escape(&measure.weight.name);
    let counted = if measure.count == measure.weight {
        String::new()
    } else {
        format!(" in {} {}", grouped(selected.samples), escape(&measure.count.name))
    };
    if all == selected {
        return format!("{name}: {}{counted}", unit.with_name(all.weight_ns));
    }
    let share = percent(selected.weight_ns, all.weight_ns);
    let (part, whole) = (unit.number(selected.weight_ns), unit.with_name(all.weight_ns));
    format!("{name}: {part} of {whole} ({share} %) selected{counted}")
}

fn losses_of(losses: &[Loss]) -> String {
    let some: Vec<String> = losses
        .iter()
        .filter(|loss| loss.count > 0)
        .map(|loss| match loss.name.strip_suffix("_ns") {
            Some(name) => {
                format!("{} {}", escape(name), unit("nanoseconds", loss.count).with_name(loss.count))
            }
            None => format!("{} {}", escape(&loss.name), grouped(loss.count)),
        })
        .collect();
    if some.is_empty() { "none".into() } else { some.join(", ") }
}
