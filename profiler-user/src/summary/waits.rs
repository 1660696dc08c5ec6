//! What threads waited for most: the places at which they were off their CPUs.

use super::columns::{Align, cut, cut_start, pad};
use super::table::title;
use crate::escape::escape;
use crate::profile::{OffCpuMeta, ProcessMeta, Profile, TopWait, waits_for};
use unicode_width::UnicodeWidthStr;

/// Rows of all processes together.
const ROWS: usize = 8;
/// What is 0.01 s when it is rounded.
const LEAST_NS: u64 = 5_000_000;
/// Widest name of a process or function.
const MAX_NAME_WIDTH: usize = 28;
/// Before each name: seconds, threads, system call.
const NUMBERS_WIDTH: usize = 37;

/// A wait and whose it was.
#[derive(Clone, Debug)]
pub struct Wait {
    process: String,
    wait: TopWait,
}

/// What may be shown of a profile of time off CPU.
pub fn waits_of(profile: &Profile) -> Vec<Wait> {
    let process = title(profile.process());
    profile.top_waits(ROWS).into_iter().map(|wait| Wait { process: process.clone(), wait }).collect()
}

/// The longest of `waits`, of these processes. Empty where nothing was followed off its CPU.
///
/// ```text
/// Threads waited 23.9 s, and 5.5 s more for a CPU; most of it:
///   seconds  threads  in               where
///     10.00        2  recvfrom         reader  /srv/app.py:19
/// ```
pub fn waits<'a>(
    processes: impl IntoIterator<Item = &'a ProcessMeta>,
    mut waits: Vec<Wait>,
    width: usize,
) -> String {
    let off_cpu: Vec<&OffCpuMeta> =
        processes.into_iter().filter_map(|process| process.off_cpu.as_ref()).collect();
    if off_cpu.is_empty() {
        return String::new();
    }
    let seconds = |of: fn(&OffCpuMeta) -> u64| {
        off_cpu.iter().map(|off_cpu| of(off_cpu)).fold(0u64, u64::saturating_add) as f64 / 1e9
    };
    let (blocked, runnable) = (seconds(|one| one.blocked_ns), seconds(|one| one.runnable_ns));
    waits.sort_by_key(|wait| std::cmp::Reverse(wait.wait.ns));
    waits.truncate(ROWS);
    // Not what would stand there as 0.00, beside what does not.
    let told = waits.iter().take_while(|wait| wait.wait.ns >= LEAST_NS).count();
    waits.truncate(told);
    let rest = if waits.is_empty() { "" } else { "; most of it:" };
    let head = format!("Threads waited {blocked:.1} s, and {runnable:.1} s more for a CPU{rest}");
    let mut text = format!("{}\n", cut(&head, width));
    if waits.is_empty() {
        return text;
    }
    text.push_str(&format!("{}\n", cut("  seconds  threads  in               where", width)));
    let several = off_cpu.len() > 1;
    let rows: Vec<(String, String, String)> = waits.iter().map(|wait| cells(wait, several)).collect();
    // Names may take half of the room, so that places keep the other half.
    let room = width.saturating_sub(NUMBERS_WIDTH);
    let name_width = rows.iter().map(|(_, name, _)| name.width()).max().unwrap_or(0).min(room / 2);
    for (numbers, name, place) in rows {
        let name = pad(&cut(&name, name_width), name_width, Align::Left);
        let place = cut_start(&place, room.saturating_sub(name_width + 2));
        text.push_str(&format!("{}\n", cut(format!("{numbers}  {name}  {place}").trim_end(), width)));
    }
    text
}

/// The columns before the name, the name, the place.
fn cells(wait: &Wait, several: bool) -> (String, String, String) {
    let Wait { process, wait } = wait;
    let TopWait { name, file, line, caller, syscall, for_gil, ns, threads } = wait;
    let call = waits_for(*for_gil, *syscall).unwrap_or("");
    let numbers =
        format!("{:>9.2}  {threads:>7}  {}", *ns as f64 / 1e9, pad(&cut(call, 15), 15, Align::Left));
    let short = |name: &str| cut(&escape(name), MAX_NAME_WIDTH);
    let mut shown = short(name);
    if let Some((name, line)) = caller {
        shown = format!("{shown} < {}:{line}", short(name));
    }
    if several {
        shown = format!("{}: {shown}", short(process));
    }
    let place = if file.is_empty() { String::new() } else { format!("{}:{line}", escape(file)) };
    (numbers, shown, place)
}
