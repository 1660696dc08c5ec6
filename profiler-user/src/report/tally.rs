//! Where the time went: sums by function, by line, by file, by process, by thread, and along the calls between functions.
//!
//! As in `go tool pprof`: own is what has the leaf, total what stands anywhere in a stack, once however often it stands there.

use crate::profile::{Profile, Total};
use hashbrown::{HashMap, HashSet};
use std::mem::replace;

/// What a row of a table stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Function,
    Line,
    File,
    Process,
    Thread,
    /// What threads wait for: a system call, or the GIL.
    Wait,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub file: String,
    /// Of a function, that with the most own time, or its first; 0 for none.
    pub line: u32,
    /// Of a process and a thread.
    pub pid: u32,
    pub tid: u32,
    pub own: Total,
    pub total: Total,
}

/// A key for each location, or for each thread: dense, so that sums are arrays.
struct Keys {
    of: Vec<u32>,
    count: usize,
}

/// A location that is not asked for.
const NONE: u32 = u32::MAX;

impl Keys {
    fn number<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = Option<K>>) -> Keys {
        let mut numbers: HashMap<K, u32> = HashMap::new();
        let mut number = |key: Option<K>| {
            let next = numbers.len() as u32;
            key.map_or(NONE, |key| *numbers.entry(key).or_insert(next))
        };
        let of = keys.map(&mut number).collect();
        Keys { of, count: numbers.len() }
    }
}

/// Own and total by key.
fn sums(profile: &Profile, keys: &Keys) -> (Vec<Total>, Vec<Total>) {
    let mut own = vec![Total::default(); keys.count];
    let mut total = vec![Total::default(); keys.count];
    // Which sample last counted each key: a recursion counts once.
    let mut counted_by = vec![0u32; keys.count];
    for (mark, sample) in (1u32..).zip(profile.samples()) {
        for (depth, location) in profile.stack_locations(sample.stack).enumerate() {
            let key = keys.of[location.index()];
            if key == NONE {
                continue;
            }
            if depth == 0 {
                own[key as usize].merge(sample.total);
            }
            if replace(&mut counted_by[key as usize], mark) != mark {
                total[key as usize].merge(sample.total);
            }
        }
    }
    (own, total)
}

/// All rows with any time, the most own first; equal ones by name, so that equal runs print equal tables.
pub fn rows(profile: &Profile, by: By) -> Vec<Row> {
    let mut rows = match by {
        By::Function => functions(profile, |function| (function.name, function.file, function.start_line)),
        By::Line => lines(profile, true, |_| true),
        By::File => files(profile),
        By::Process | By::Thread => owners(profile, by),
        By::Wait => waits(profile),
    };
    rows.retain(|row| row.total != Total::default());
    sort(&mut rows);
    rows
}

fn sort(rows: &mut [Row]) {
    rows.sort_by(|a, b| {
        let weights = |row: &Row| (row.own.weight_ns, row.total.weight_ns, row.own.samples);
        let numbers = |row: &Row| (row.line, row.pid, row.tid);
        let by_name = || a.name.cmp(&b.name).then_with(|| a.file.cmp(&b.file));
        weights(b).cmp(&weights(a)).then_with(by_name).then_with(|| numbers(a).cmp(&numbers(b)))
    });
}

/// The same function of two versions of a program: where it begins may differ.
pub fn rows_to_compare(profile: &Profile, by: By) -> Vec<Row> {
    match by {
        By::Function => functions(profile, |function| (function.name, function.file, 0)),
        _ => rows(profile, by),
    }
}

fn functions<K: std::hash::Hash + Eq>(
    profile: &Profile,
    key: impl Fn(&crate::profile::Function) -> K,
) -> Vec<Row> {
    let of = |at: usize| &profile.functions()[profile.locations()[at].function.index()];
    let keys = Keys::number((0..profile.locations().len()).map(|at| Some(key(of(at)))));
    let (own, total) = sums(profile, &keys);
    let mut rows = vec![Row::default(); keys.count];
    // The line with the most own time, and how much that is.
    let mut hottest = vec![0u64; keys.count];
    for line in lines_own(profile) {
        let ((location, line), ns) = line;
        let key = keys.of[location] as usize;
        if ns > hottest[key] || (ns == hottest[key] && line < rows[key].line) {
            (hottest[key], rows[key].line) = (ns, line);
        }
    }
    for (at, key) in keys.of.iter().enumerate() {
        let (row, function) = (&mut rows[*key as usize], of(at));
        if row.name.is_empty() {
            row.name = profile.string(function.name).into();
            row.file = profile.string(function.file).into();
            row.own = own[*key as usize];
            row.total = total[*key as usize];
        }
        if row.line == 0 {
            row.line = function.start_line;
        }
    }
    rows
}

/// Own time by function and line, each with one of its locations.
fn lines_own(profile: &Profile) -> impl Iterator<Item = ((usize, u32), u64)> {
    let mut own: HashMap<(u32, u32), (usize, u64)> = HashMap::new();
    for sample in profile.samples() {
        let Some(leaf) = profile.stack_locations(sample.stack).next() else { continue };
        let location = profile.locations()[leaf.index()];
        if location.line != 0 {
            let entry = own.entry((location.function.0, location.line)).or_insert((leaf.index(), 0));
            entry.1 = entry.1.saturating_add(sample.total.weight_ns);
        }
    }
    own.into_iter().map(|((_, line), (location, ns))| ((location, line), ns))
}

/// By file and line, of the functions whose number `is_wanted`; with `by_name`, a line that is in two functions is two rows.
pub fn lines(profile: &Profile, by_name: bool, is_wanted: impl Fn(usize) -> bool) -> Vec<Row> {
    let locations = profile.locations();
    let key = |at: usize| {
        let function = locations[at].function.index();
        is_wanted(function).then(|| {
            let function = profile.functions()[function];
            (by_name.then_some(function.name), function.file, locations[at].line)
        })
    };
    let keys = Keys::number((0..locations.len()).map(key));
    let (own, total) = sums(profile, &keys);
    let mut rows = vec![Row::default(); keys.count];
    for (at, key) in keys.of.iter().enumerate().filter(|(_, key)| **key != NONE) {
        let function = profile.functions()[locations[at].function.index()];
        let row = &mut rows[*key as usize];
        *row = Row {
            name: profile.string(function.name).into(),
            file: profile.string(function.file).into(),
            line: locations[at].line,
            own: own[*key as usize],
            total: total[*key as usize],
            ..Row::default()
        };
    }
    rows
}

fn files(profile: &Profile) -> Vec<Row> {
    let locations = profile.locations();
    let file = |at: usize| profile.functions()[locations[at].function.index()].file;
    let keys = Keys::number((0..locations.len()).map(|at| Some(file(at))));
    let (own, total) = sums(profile, &keys);
    let mut rows = vec![Row::default(); keys.count];
    for (at, key) in keys.of.iter().enumerate() {
        let key = *key as usize;
        let name = profile.string(file(at)).to_owned();
        rows[key] = Row { name, own: own[key], total: total[key], ..Row::default() };
    }
    rows
}

/// By process or by thread, where own is total. Files of one process belong together, whatever capture they are of.
fn owners(profile: &Profile, by: By) -> Vec<Row> {
    let processes: Vec<_> = profile.processes().collect();
    let mut rows: Vec<Row> = Vec::new();
    let mut numbers: HashMap<(u32, String, u32, String), usize> = HashMap::new();
    let of_thread: Vec<usize> = profile
        .threads()
        .iter()
        .map(|thread| {
            let process = processes[thread.process as usize];
            let name = process.name.clone();
            let (tid, thread_name) = match by {
                By::Thread => (thread.tid, thread.names(&process.comm).0.to_owned()),
                _ => (0, String::new()),
            };
            *numbers.entry((process.pid, name, tid, thread_name)).or_insert_with_key(
                |(pid, name, tid, thread)| {
                    // Of a thread, its process stands where a function has its file.
                    let (name, file) = match by {
                        By::Thread => (thread.clone(), name.clone()),
                        _ => (name.clone(), process.executable.clone()),
                    };
                    rows.push(Row { name, file, pid: *pid, tid: *tid, ..Row::default() });
                    rows.len() - 1
                },
            )
        })
        .collect();
    for sample in profile.samples() {
        let row = &mut rows[of_thread[sample.thread.index()]];
        row.own.merge(sample.total);
        row.total = row.own;
    }
    rows
}

/// Without a name: it is not known, or the profile is of something else.
fn waits(profile: &Profile) -> Vec<Row> {
    let mut totals: HashMap<&str, Total> = HashMap::new();
    for sample in profile.samples() {
        totals.entry(sample.context.waits_for().unwrap_or("")).or_default().merge(sample.total);
    }
    let row = |(name, total): (&str, Total)| Row { name: name.into(), own: total, total, ..Row::default() };
    totals.into_iter().map(row).collect()
}

/// A function with those that called it and those that it called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    pub function: Row,
    /// The most first. Without a name: nothing called it.
    pub callers: Vec<Edge>,
    pub callees: Vec<Edge>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    pub name: String,
    pub file: String,
    pub total: Total,
}

/// Of each function, by name and file, that `is_wanted` by its number. A call of a function by itself is no edge, and an edge
/// counts once per stack.
pub fn calls(profile: &Profile, is_wanted: impl Fn(usize) -> bool) -> Vec<Calls> {
    let functions = profile.functions();
    let names = Keys::number(functions.iter().map(|function| Some((function.name, function.file))));
    let wanted: HashSet<u32> =
        (0..functions.len()).filter(|at| is_wanted(*at)).map(|at| names.of[at]).collect();
    let mut edges: HashMap<(u32, u32), (u32, Total)> = HashMap::new();
    let mut stack: Vec<u32> = Vec::new();
    for (mark, sample) in (1u32..).zip(profile.samples()) {
        stack.clear();
        let locations = profile.stack_locations(sample.stack);
        stack.extend(locations.map(|at| names.of[profile.locations()[at.index()].function.index()]));
        let mut caller = NONE;
        for callee in stack.iter().rev().copied() {
            if caller != callee && (wanted.contains(&caller) || wanted.contains(&callee)) {
                let (counted_by, total) = edges.entry((caller, callee)).or_default();
                if replace(counted_by, mark) != mark {
                    total.merge(sample.total);
                }
            }
            caller = callee;
        }
    }
    let mut number_of: HashMap<(&str, &str), u32> = HashMap::new();
    let mut text = vec![("", ""); names.count];
    for (function, key) in functions.iter().zip(&names.of) {
        let name = (profile.string(function.name), profile.string(function.file));
        number_of.insert(name, *key);
        text[*key as usize] = name;
    }
    let mut by_function: HashMap<u32, (Vec<Edge>, Vec<Edge>)> = HashMap::new();
    for ((caller, callee), (_, total)) in edges {
        let edge = |of: u32| {
            let (name, file) = text.get(of as usize).copied().unwrap_or_default();
            Edge { name: name.into(), file: file.into(), total }
        };
        if wanted.contains(&callee) {
            by_function.entry(callee).or_default().0.push(edge(caller));
        }
        if wanted.contains(&caller) {
            by_function.entry(caller).or_default().1.push(edge(callee));
        }
    }
    let mut rows = rows_to_compare(profile, By::Function);
    rows.retain(|row| row.total != Total::default());
    rows.sort_by(|a, b| (b.total.weight_ns, &a.name).cmp(&(a.total.weight_ns, &b.name)));
    let of = |function: Row| {
        let number = number_of.get(&(function.name.as_str(), function.file.as_str()))?;
        if !wanted.contains(number) {
            return None;
        }
        let (mut callers, mut callees) = by_function.remove(number).unwrap_or_default();
        for edges in [&mut callers, &mut callees] {
            edges.sort_by(|a, b| {
                (b.total.weight_ns, &a.name, &a.file).cmp(&(a.total.weight_ns, &b.name, &b.file))
            });
        }
        Some(Calls { function, callers, callees })
    };
    rows.into_iter().filter_map(of).collect()
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
