//! The command: reads, sums, prints. Results go to standard output, talk to standard error.

use super::diff::{Scale, diff};
use super::input::Unread;
use super::set::Set;
use super::tally::{By, calls, rows};
use super::{Pattern, ReportError, ReportOptions, View, convert, json, select, source};
use crate::colour::paint;
use crate::escape::escape;
use crate::summary;
use crate::summary::report as text;
use crate::talk::Talk;
use serde_json::{Map, Value};
use std::io::{self, IsTerminal, Write};

/// Where nobody looks at columns: names and places are whole.
const NO_TERMINAL_WIDTH: usize = 1000;

pub fn report(options: &ReportOptions) -> Result<(), ReportError> {
    let width = width();
    let (output, failed, all) = match options.view {
        View::Diff { by, absolute } => compared(options, by, absolute, width)?,
        View::Write(ref to) => convert::write(options, to)?,
        _ => shown(options, width)?,
    };
    let is_text = !options.json && !matches!(options.view, View::Write(_));
    let has_colour = is_text && options.talk.colour.is_wanted();
    let output = if has_colour { paint(&output, summary::mark) } else { output };
    write(output.as_bytes())?;
    if failed > 0 { Err(ReportError::Files { failed, all }) } else { Ok(()) }
}

/// What to print, how many files could not be read, and how many there were.
pub(super) type Output = (String, usize, usize);

/// What time off the CPU is called; waits are of nothing else.
const OFF_CPU: &str = "off_cpu";

/// Of a capture's directory, `--by wait` is about the files of time off the CPU, where there are any.
fn read(options: &ReportOptions) -> Set {
    let read = |of| Set::read(&options.inputs, of, &options.select, options.talk);
    match (&options.sample_type, &options.view) {
        (None, View::Top(By::Wait)) => Some(read(Some(OFF_CPU))).filter(|set| !set.files.is_empty()),
        _ => None,
    }
    .unwrap_or_else(|| read(options.sample_type.as_deref()))
}

fn shown(options: &ReportOptions, width: usize) -> Result<Output, ReportError> {
    let set = read(options);
    tell(&set.failures, &set.notes, options.talk);
    set.read.iter().for_each(|line| options.talk.detail(line));
    let (failed, all) = (set.failures.len(), set.failures.len() + set.files.len());
    if set.files.is_empty() {
        return Ok((String::new(), failed, all));
    }
    let mut head = text::head("", &set.head, width);
    head.push_str(&summary::unsupported(&set.unsupported, width));
    head.push('\n');
    let json_head = || json::head(&set.head, &set.files, &set.failures, &set.unsupported);
    let (measure, selected) = (set.profile.measure(), set.head.selected);
    let limit = options.limit;
    let matching = |pattern: &Option<Pattern>| match pattern {
        Some(pattern) => select::functions(&set.profile, pattern),
        None => vec![false; set.profile.functions().len()],
    };
    let output = match &options.view {
        View::Top(by) => {
            let rows = rows(&set.profile, *by);
            if options.json {
                as_json(json_head(), "rows", rows.iter().take(limit).map(json::row).collect())
            } else {
                head + &text::top(&rows, *by, measure, selected, limit, width)
            }
        }
        View::Calls { callers, callees } => {
            let (of_callers, of_callees) = (matching(callers), matching(callees));
            let all = calls(&set.profile, |at| of_callers[at] || of_callees[at]);
            if all.is_empty() {
                let pattern = callers.as_ref().or(callees.as_ref()).map_or("", Pattern::text);
                return Err(ReportError::NoMatch(escape(pattern).into_owned()));
            }
            if options.json {
                let calls = all.iter().take(limit).map(|it| json::calls(it, limit));
                as_json(json_head(), "calls", calls.collect())
            } else {
                let is_in = |pattern: &Option<Pattern>, it: &super::Calls| {
                    let function = &it.function;
                    let found =
                        |pattern: &Pattern| pattern.is_in(&function.name) || pattern.is_in(&function.file);
                    pattern.as_ref().is_some_and(found)
                };
                let wants = |it: &super::Calls| (is_in(callers, it), is_in(callees, it));
                head + &text::calls(&all, measure, wants, limit, width)
            }
        }
        View::Source(pattern) => {
            let of = select::functions(&set.profile, pattern);
            let files = source::annotate(&set.profile, |at| of[at]);
            if files.is_empty() {
                return Err(ReportError::NoMatch(escape(pattern.text()).into_owned()));
            }
            if options.json {
                as_json(json_head(), "source", files.iter().take(limit).map(json::source).collect())
            } else {
                head + &text::source(&files, measure, selected, limit, width)
            }
        }
        View::Diff { .. } | View::Write(_) => head,
    };
    Ok((output, failed, all))
}

fn compared(options: &ReportOptions, by: By, absolute: bool, width: usize) -> Result<Output, ReportError> {
    let read = |at: usize| {
        let set = Set::read(
            &options.inputs[at..=at],
            options.sample_type.as_deref(),
            &options.select,
            options.talk,
        );
        tell(&set.failures, &set.notes, options.talk);
        set.read.iter().for_each(|line| options.talk.detail(line));
        set
    };
    let (before, after) = (read(0), read(1));
    let failed = before.failures.len() + after.failures.len();
    let all = failed + before.files.len() + after.files.len();
    if before.files.is_empty() || after.files.is_empty() {
        return Ok((String::new(), failed, all));
    }
    let kind = |set: &Set| set.profile.measure().weight.clone();
    if kind(&before) != kind(&after) {
        let name = |set: &Set| {
            let weight = kind(set);
            escape(&format!("{}/{}", weight.name, weight.unit)).into_owned()
        };
        return Err(ReportError::Different { before: name(&before), after: name(&after) });
    }
    let scale = Scale::of(absolute, before.head.duration_ns, after.head.duration_ns);
    let changes = diff(&before.profile, &after.profile, by, scale);
    let measure = after.profile.measure();
    let output = if options.json {
        let head = |set: &Set| json::head(&set.head, &set.files, &set.failures, &set.unsupported).into();
        let mut whole = Map::new();
        whole.insert("before".into(), head(&before));
        whole.insert("after".into(), head(&after));
        whole.insert("scale".into(), json::scale(scale));
        as_json(whole, "changes", changes.iter().take(options.limit).map(json::change).collect())
    } else {
        let all = (before.head.selected.weight_ns, after.head.selected.weight_ns);
        let heads = [("Before: ", &before), ("After: ", &after)].map(|(title, set)| {
            let unsupported = summary::unsupported(&set.unsupported, width);
            format!("{}{unsupported}\n", text::head(title, &set.head, width))
        });
        heads.concat() + &text::changes(&changes, measure, scale, all, options.limit, width)
    };
    Ok((output, failed, all))
}

fn as_json(mut whole: Map<String, Value>, name: &str, rows: Value) -> String {
    whole.insert(name.into(), rows);
    format!("{:#}\n", Value::Object(whole))
}

/// What is no result.
pub(super) fn tell(failures: &[Unread], notes: &[String], talk: Talk) {
    for failure in failures {
        let why = escape(&failure.why);
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(io::stderr(), "pyprof-bpf: failed to read {}: {why}", failure.path);
    }
    for note in notes {
        talk.say(&format!("pyprof-bpf: {}", escape(note)));
    }
}

/// Whoever reads may stop reading: `head` does.
fn write(bytes: &[u8]) -> Result<(), ReportError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Of the terminal that the report is for.
fn width() -> usize {
    if !io::stdout().is_terminal() {
        return NO_TERMINAL_WIDTH;
    }
    // SAFETY: `winsize` is plain integers.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer to the struct that this request fills.
    let status = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    if status == 0 && size.ws_col > 0 { usize::from(size.ws_col) } else { 100 }
}
