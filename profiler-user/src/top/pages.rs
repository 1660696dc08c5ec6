//! From what was counted to what is shown: a table per view, for a window of the past.

use std::collections::{HashMap, HashSet};

use pyunwind::Outcome;

use super::history::{History, Process, Shown, Span, Window};
use super::state::{Tab, View};
use super::table::{Cell, Column, Kind, Row, Table};
use crate::pipeline::Sums;
use crate::profile::{FunctionId, Gil, LocationId, Loss, Profile, ThreadId, Total};
use crate::summary::title as process_title;
use crate::syscalls::{UNNAMED, syscall_name};

const fn number(head: &'static str) -> Column {
    Column { head, kind: Kind::Number, from_width: 0 }
}

const fn text(head: &'static str, most: usize) -> Column {
    Column { head, kind: Kind::Text(most), from_width: 0 }
}

const PATH: Column = Column { head: "FILE", kind: Kind::Path, from_width: 0 };
/// `share`: of which time.
const fn processes(share: &'static str) -> [Column; 9] {
    [
        number("PID"),
        number(share),
        number("GIL%"),
        number("LOST%"),
        number("THR"),
        Column { head: "PYTHON", kind: Kind::Text(10), from_width: 70 },
        text("NAME", 20),
        Column { head: "CONTAINER", kind: Kind::Text(12), from_width: 110 },
        text("TOP FUNCTION", 0),
    ]
}
const fn threads_by(share: &'static str) -> [Column; 5] {
    [number("TID"), number(share), number("GIL%"), text("THREAD", 24), text("TOP FUNCTION", 0)]
}
const PROCESSES: &[Column] = &processes("CPU%");
const WAITING_PROCESSES: &[Column] = &processes("WAIT%");
const FUNCTIONS: &[Column] = &[number("OWN%"), number("TOTAL%"), text("FUNCTION", 36), PATH];
const LINES: &[Column] = &[
    number("OWN%"),
    number("TOTAL%"),
    text("FUNCTION", 30),
    Column { head: "LINE", kind: Kind::Path, from_width: 0 },
];
const THREADS: &[Column] = &threads_by("CPU%");
const WAITING_THREADS: &[Column] = &threads_by("WAIT%");
const SYSCALLS: &[Column] = &[number("SHARE%"), number("WAITS"), text("SYSTEM CALL", 0)];
const LOSSES: &[Column] = &[number("SHARE%"), number("SAMPLES"), text("WHAT BECAME OF SAMPLES", 0)];
const CALLS: &[Column] = &[number("TOTAL%"), text("WAY", 9), text("FUNCTION", 36), PATH];

/// Characters of a container id, as `docker ps` shows them.
const CONTAINER_CHARS: usize = 12;

/// What is shown now.
pub struct Page {
    pub title: String,
    pub table: Table,
    pub shown: Shown,
    /// Time of all processes in the window, in percent of one core or of one thread that waits, and how long the window is.
    pub percent: f64,
    pub window_ns: u64,
    pub processes: usize,
    /// Samples without the stack they should have, in percent of that time.
    pub lost_percent: f64,
}

/// The page of a view; that of the list where the process is gone. `host`: what was lost on the whole host.
pub fn page(history: &History, view: &View, window: Window, host: &[Loss]) -> Page {
    let span = history.span(window);
    let mut all = Sums::default();
    let mut processes = 0;
    for process in history.processes() {
        processes += usize::from(!process.ended);
        all.merge(&history.sums(process, span));
    }
    if span.has_past {
        all.outcomes[Outcome::Complete as usize].merge(history.forgotten.total);
    }
    let all_ns = all.all().weight_ns;
    let (title, table) = match view {
        View::Processes => (String::new(), list(history, span)),
        View::Process(id, tab) => match history.process(*id) {
            Some(process) => (heading(history, process, span), tab_of(history, process, span, *tab, host)),
            None => (
                "this process has ended and is not kept any more".into(),
                Table::empty(processes_of(history.shown)),
            ),
        },
        View::Function(id, function) => match history.process(*id) {
            Some(process) => (
                format!("{} - callers and callees of {}", heading(history, process, span), function.name),
                calls(history, process, span, function),
            ),
            None => (
                "this process has ended and is not kept any more".into(),
                Table::empty(processes_of(history.shown)),
            ),
        },
    };
    Page {
        title,
        table,
        shown: history.shown,
        percent: percent(all_ns, span.ns),
        window_ns: span.ns,
        processes,
        lost_percent: percent(lost(&all).weight_ns, all_ns),
    }
}

fn processes_of(shown: Shown) -> &'static [Column] {
    match shown {
        Shown::Cpu => PROCESSES,
        Shown::Waits => WAITING_PROCESSES,
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl Table {
    fn empty(columns: &'static [Column]) -> Table {
        Table { columns, rows: Vec::new() }
    }
}

/// A function or a marker, as it is told from others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FunctionName {
    pub name: String,
    pub file: String,
    pub start_line: u32,
}

fn lost(sums: &Sums) -> Total {
    let mut total = sums.dropped;
    for (outcome, sum) in Outcome::ALL.iter().zip(sums.outcomes) {
        match outcome {
            Outcome::Unreadable | Outcome::Torn | Outcome::ThreadNotFound | Outcome::Unknown => {
                total.merge(sum);
            }
            Outcome::Complete | Outcome::Truncated | Outcome::Native | Outcome::Starting => {}
        }
    }
    total
}

fn name_of(process: &Process) -> String {
    let name = process_title(&process.meta);
    let name = if name.is_empty() { process.meta.comm.clone() } else { name };
    let unresponsive = if process.meta.is_unresponsive { " (unresponsive)" } else { "" };
    format!("{name}{unresponsive}{}", if process.ended { " (ended)" } else { "" })
}

fn heading(history: &History, process: &Process, span: Span) -> String {
    let share = percent(history.sums(process, span).all().weight_ns, span.ns);
    let pid = process.key.tgid;
    let (of, version) = (history.shown.name().0, &process.meta.python_version);
    format!("{pid} {} - {share:.1} % {of} - Python {version}", name_of(process))
}

/// What a row of processes or of threads sums up.
#[derive(Default)]
struct Share {
    ns: u64,
    /// With the GIL, or waiting for it.
    gil_ns: u64,
    gil_known: bool,
    own: HashMap<FunctionId, u64>,
}

impl Share {
    fn add(&mut self, shown: Shown, gil: Gil, leaf: Option<FunctionId>, total: Total) {
        self.ns = self.ns.saturating_add(total.weight_ns);
        self.gil_known |= gil != Gil::Unknown;
        if matches!((shown, gil), (Shown::Cpu, Gil::Held) | (Shown::Waits, Gil::Awaited)) {
            self.gil_ns = self.gil_ns.saturating_add(total.weight_ns);
        }
        if let Some(leaf) = leaf {
            let own = self.own.entry(leaf).or_default();
            *own = own.saturating_add(total.weight_ns);
        }
    }

    fn gil(&self, window_ns: u64) -> Cell {
        if self.gil_known { Cell::percent(self.gil_ns, window_ns) } else { Cell::none() }
    }

    fn top(&self, names: &Profile) -> Cell {
        let hottest = self.own.iter().max_by_key(|(function, ns)| (**ns, std::cmp::Reverse(**function)));
        let name = hottest.and_then(|(function, _)| names.functions().get(function.index()));
        Cell::text(name.map_or("", |function| names.string(function.name)))
    }
}

fn function_at(names: &Profile, location: LocationId) -> FunctionId {
    names.locations()[location.index()].function
}

fn list(history: &History, span: Span) -> Table {
    let mut rows: Vec<(u64, Row)> = Vec::new();
    for process in history.processes() {
        let names = &process.book.names;
        let mut share = Share::default();
        let mut threads: HashSet<ThreadId> = HashSet::new();
        for (key, total) in history.counts(process, span) {
            let leaf = names.stack_locations(key.stack).next().map(|leaf| function_at(names, leaf));
            share.add(history.shown, key.gil, leaf, total);
            threads.insert(key.thread);
        }
        let sums = history.sums(process, span);
        let cpu_ns = sums.all().weight_ns;
        if process.ended && cpu_ns == 0 {
            continue;
        }
        let meta = &process.meta;
        let container = meta.labels.container_id.as_deref().unwrap_or("");
        let container: String = container.chars().take(CONTAINER_CHARS).collect();
        let cells = vec![
            Cell::count(u64::from(process.key.tgid)),
            Cell::percent(cpu_ns, span.ns),
            share.gil(span.ns),
            Cell::percent(lost(&sums).weight_ns, cpu_ns),
            Cell::count(threads.len() as u64),
            Cell::text(&meta.python_version),
            Cell::text(&name_of(process)),
            Cell::text(&container),
            share.top(names),
        ];
        rows.push((cpu_ns, Row { ident: process.id.to_string(), cells }));
    }
    rows.sort_by_key(|(cpu_ns, _)| std::cmp::Reverse(*cpu_ns));
    Table { columns: processes_of(history.shown), rows: rows.into_iter().map(|(_, row)| row).collect() }
}

fn tab_of(history: &History, process: &Process, span: Span, tab: Tab, host: &[Loss]) -> Table {
    match tab {
        Tab::Functions => places(history, process, span, FUNCTIONS, |names, location| {
            (names.locations()[location.index()].function, 0)
        }),
        Tab::Lines => places(history, process, span, LINES, |names, location| {
            let location = names.locations()[location.index()];
            (location.function, location.line)
        }),
        Tab::Threads => threads(history, process, span),
        Tab::Syscalls => syscalls(history, process, span),
        Tab::Losses => losses(history, process, span, host),
    }
}

/// What each function, or line of one, has of the process's time.
fn places(
    history: &History,
    process: &Process,
    span: Span,
    columns: &'static [Column],
    place: impl Fn(&Profile, LocationId) -> (FunctionId, u32),
) -> Table {
    let names = &process.book.names;
    // Own time, time with all that was called, and which count was the last that added to it: a recursion counts once.
    let mut times: HashMap<(FunctionId, u32), (u64, u64, usize)> = HashMap::new();
    for (mark, (key, total)) in history.counts(process, span).enumerate() {
        for (depth, location) in names.stack_locations(key.stack).enumerate() {
            let time = times.entry(place(names, location)).or_insert((0, 0, usize::MAX));
            if depth == 0 {
                time.0 = time.0.saturating_add(total.weight_ns);
            }
            if std::mem::replace(&mut time.2, mark) != mark {
                time.1 = time.1.saturating_add(total.weight_ns);
            }
        }
    }
    let all_ns = history.sums(process, span).all().weight_ns;
    let mut order: Vec<_> = times.into_iter().collect();
    order.sort_unstable_by_key(|(place, (own, total, _))| (std::cmp::Reverse((*own, *total)), *place));
    let row = |((function, line), (own_ns, total_ns, _)): ((FunctionId, u32), (u64, u64, usize))| {
        let name = function_name(names, function);
        let (file, is_line) = (&name.file, columns[3].head == "LINE");
        let place = match (is_line, file.is_empty()) {
            (_, true) => String::new(),
            (true, false) => format!("{file}:{line}"),
            (false, false) => format!("{file}:{}", name.start_line),
        };
        let cells = vec![
            Cell::percent(own_ns, all_ns),
            Cell::percent(total_ns, all_ns),
            Cell::text(&name.name),
            Cell::text(&place),
        ];
        Row { ident: ident(&name, line), cells }
    };
    Table { columns, rows: order.into_iter().map(row).collect() }
}

fn function_name(names: &Profile, function: FunctionId) -> FunctionName {
    let function = names.functions()[function.index()];
    FunctionName {
        name: names.string(function.name).into(),
        file: names.string(function.file).into(),
        start_line: function.start_line,
    }
}

/// A name of a row from which the function is found again; a name may hold anything but NUL and be what it likes.
fn ident(name: &FunctionName, line: u32) -> String {
    format!("{line}\0{}\0{}\0{}", name.start_line, name.file, name.name)
}

/// The function that a row of functions, lines or calls is of.
pub fn function_of(ident: &str) -> Option<FunctionName> {
    let mut parts = ident.splitn(4, '\0').skip(1);
    let start_line = parts.next()?.parse().ok()?;
    Some(FunctionName { start_line, file: parts.next()?.into(), name: parts.next()?.into() })
}

fn threads(history: &History, process: &Process, span: Span) -> Table {
    let names = &process.book.names;
    let mut shares: HashMap<ThreadId, Share> = HashMap::new();
    for (key, total) in history.counts(process, span) {
        let leaf = names.stack_locations(key.stack).next().map(|leaf| function_at(names, leaf));
        shares.entry(key.thread).or_default().add(history.shown, key.gil, leaf, total);
    }
    let mut order: Vec<(ThreadId, Share)> = shares.into_iter().collect();
    order.sort_unstable_by_key(|(thread, share)| (std::cmp::Reverse(share.ns), *thread));
    let row = |(id, share): (ThreadId, Share)| {
        let thread = &names.threads()[id.index()];
        let cells = vec![
            Cell::count(u64::from(thread.tid)),
            Cell::percent(share.ns, span.ns),
            share.gil(span.ns),
            Cell::text(thread.names(&process.meta.comm).0),
            share.top(names),
        ];
        Row { ident: format!("{} {}", thread.tid, thread.start_ns), cells }
    };
    let columns = if history.shown == Shown::Cpu { THREADS } else { WAITING_THREADS };
    Table { columns, rows: order.into_iter().map(row).collect() }
}

/// What threads wait in.
fn syscalls(history: &History, process: &Process, span: Span) -> Table {
    let mut times: HashMap<Option<u16>, Total> = HashMap::new();
    for (key, total) in history.counts(process, span) {
        times.entry(key.syscall).or_default().merge(total);
    }
    let all_ns = history.sums(process, span).all().weight_ns;
    let mut order: Vec<(Option<u16>, Total)> = times.into_iter().collect();
    order.sort_unstable_by_key(|(number, total)| (std::cmp::Reverse(total.weight_ns), *number));
    let row = |(number, Total { samples, weight_ns }): (Option<u16>, Total)| {
        let name = match number {
            Some(number) => syscall_name(number.into()).unwrap_or(UNNAMED).to_owned(),
            None => "none: a page was missing, or it was stopped".into(),
        };
        let cells = vec![Cell::percent(weight_ns, all_ns), Cell::count(samples), Cell::text(&name)];
        Row { ident: name, cells }
    };
    Table { columns: SYSCALLS, rows: order.into_iter().map(row).collect() }
}

fn losses(history: &History, process: &Process, span: Span, host: &[Loss]) -> Table {
    let sums = history.sums(process, span);
    let all_ns = sums.all().weight_ns;
    let row = |name: &str, share: Cell, count: u64| Row {
        ident: name.into(),
        cells: vec![share, Cell::count(count), Cell::text(name)],
    };
    let own = Outcome::ALL.iter().zip(sums.outcomes).map(|(outcome, total)| (outcome.name(), total));
    let own = own.chain([("dropped for want of memory", sums.dropped)]);
    let mut rows: Vec<Row> = own
        .filter(|(name, total)| total.samples > 0 || *name == Outcome::Complete.name())
        .map(|(name, total)| row(name, Cell::percent(total.weight_ns, all_ns), total.samples))
        .collect();
    let host = host.iter().filter(|loss| loss.count > 0);
    rows.extend(host.map(|loss| row(&format!("host since start: {}", loss.name), Cell::none(), loss.count)));
    Table { columns: LOSSES, rows }
}

/// Who calls a function, and whom it calls, with their shares of its time.
fn calls(history: &History, process: &Process, span: Span, function: &FunctionName) -> Table {
    let names = &process.book.names;
    let wanted: HashSet<FunctionId> = (0..names.functions().len() as u32)
        .map(FunctionId)
        .filter(|id| function_name(names, *id) == *function)
        .collect();
    let mut times: HashMap<(bool, FunctionId), (u64, usize)> = HashMap::new();
    let mut all_ns = 0u64;
    for (mark, (key, total)) in history.counts(process, span).enumerate() {
        let frames = names.stack_locations(key.stack).map(|location| function_at(names, location));
        let frames: Vec<FunctionId> = frames.collect();
        if frames.iter().any(|frame| wanted.contains(frame)) {
            all_ns = all_ns.saturating_add(total.weight_ns);
        }
        for (callee, caller) in frames.iter().zip(frames.iter().skip(1)) {
            let calls = [(true, *caller, wanted.contains(callee)), (false, *callee, wanted.contains(caller))];
            for (is_caller, other, _) in calls.into_iter().filter(|(.., is_wanted)| *is_wanted) {
                let time = times.entry((is_caller, other)).or_insert((0, usize::MAX));
                if std::mem::replace(&mut time.1, mark) != mark {
                    time.0 = time.0.saturating_add(total.weight_ns);
                }
            }
        }
    }
    let mut order: Vec<_> = times.into_iter().collect();
    order.sort_unstable_by_key(|((is_caller, id), (ns, _))| (!is_caller, std::cmp::Reverse(*ns), *id));
    let row = |((is_caller, id), (ns, _)): ((bool, FunctionId), (u64, usize))| {
        let name = function_name(names, id);
        let file =
            if name.file.is_empty() { String::new() } else { format!("{}:{}", name.file, name.start_line) };
        let cells = vec![
            Cell::percent(ns, all_ns),
            Cell::text(if is_caller { "called by" } else { "calls" }),
            Cell::text(&name.name),
            Cell::text(&file),
        ];
        Row { ident: ident(&name, u32::from(is_caller)), cells }
    };
    Table { columns: CALLS, rows: order.into_iter().map(row).collect() }
}
