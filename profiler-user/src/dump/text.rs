//! A dump for people. All that a target chose is escaped.

use std::fmt::Write;

use super::Dumped;
use crate::colour::Ink;
use crate::escape::escape;
use crate::reader::stacks::{End, Gil, Python, StackFrame, Thread};
use crate::syscalls::syscall_name;

/// One process, as several lines.
pub(super) fn process(dumped: &Dumped, root_first: bool) -> String {
    let Dumped { pid, name, python, executable, signal, stacks } = dumped;
    let mut text = String::new();
    let _ = write!(text, "Process {pid}: {}, CPython {}", escape(name), escape(python));
    if !executable.is_empty() {
        let _ = write!(text, ", {}", escape(executable));
    }
    if let Some(signal) = signal {
        let _ = write!(text, ", ended by signal {signal}");
    }
    text.push('\n');
    for thread in &stacks.threads {
        one_thread(&mut text, thread, root_first);
    }
    for python in &stacks.strays {
        let _ = writeln!(text, "\nThread of unknown number{}", quoted(python));
        stack(&mut text, python, root_first);
    }
    if stacks.more || stacks.cut {
        text.push_str("\n(there are more threads)\n");
    }
    text
}

/// Where a process and where a thread begins, and which functions there are.
pub(super) fn mark(line: &str) -> Option<(usize, Ink)> {
    match line.strip_prefix("    ") {
        None if line.starts_with(['P', 'T']) => Some((line.trim_end().len(), Ink::Bold)),
        Some(frame) if !frame.starts_with([' ', '(']) => line.rfind(" (").map(|end| (end, Ink::Green)),
        _ => None,
    }
}

fn one_thread(text: &mut String, thread: &Thread, root_first: bool) {
    let Thread { tid, name, state, cpu, syscall, wchan, python } = thread;
    let first = python.first();
    let _ = write!(text, "\nThread {tid}{}", first.map_or(String::new(), quoted));
    if !name.is_empty() {
        let _ = write!(text, " ({})", escape(name));
    }
    let mut notes = vec![at_what(*state, *syscall, wchan.as_deref())];
    if let Some(cpu) = cpu {
        notes.push(format!("CPU {cpu}"));
    }
    match first.map(|python| python.gil) {
        Some(Gil::Holds) => notes.push("holds the GIL".into()),
        Some(Gil::Waits) => notes.push("waits for the GIL".into()),
        Some(Gil::Unknown | Gil::Without) | None => {}
    }
    if first.is_some_and(|python| python.daemon == Some(true)) {
        notes.push("daemon".into());
    }
    let _ = writeln!(text, ": {}", notes.join(", "));
    if python.is_empty() {
        text.push_str("    <native>\n");
    }
    let several =
        python.len() > 1 || python.iter().any(|python| python.interpreter.is_some_and(|id| id != 0));
    for python in python {
        if several {
            let _ = match python.interpreter {
                Some(id) => writeln!(text, "  interpreter {id}:"),
                None => writeln!(text, "  another interpreter:"),
            };
        }
        stack(text, python, root_first);
    }
}

fn quoted(python: &Python) -> String {
    python.name.as_ref().map_or(String::new(), |name| format!(" \"{}\"", escape(name)))
}

/// What stands for the letter where there is no /proc.
const IN_A_CORE: u8 = 0;

/// In words what `proc_pid_stat(5)` has letters for.
pub(super) fn state_name(state: u8) -> &'static str {
    match state {
        b'R' => "running",
        b'S' => "sleeping",
        b'D' => "waiting for a disk or the kernel",
        b'T' => "stopped",
        b't' => "stopped by a debugger",
        b'Z' | b'X' => "ended",
        b'I' => "idle",
        b'P' => "parked",
        IN_A_CORE => "stopped in a core file",
        _ => "unknown",
    }
}

fn at_what(state: u8, syscall: Option<u32>, wchan: Option<&str>) -> String {
    let name = if state == IN_A_CORE { "was" } else { state_name(state) };
    match (syscall, wchan) {
        (Some(number), _) => match syscall_name(number) {
            Some(call) => format!("{name} in {call}"),
            None => format!("{name} in system call {number}"),
        },
        (None, Some(wchan)) => format!("{name} in {wchan}"),
        (None, None) if state == IN_A_CORE => "was in no system call".into(),
        (None, None) => name.into(),
    }
}

fn stack(text: &mut String, python: &Python, root_first: bool) {
    let Python { frames, collector, end, torn, .. } = python;
    if *torn {
        text.push_str("    (torn: the thread ran while it was read)\n");
    }
    let mut lines: Vec<String> = Vec::with_capacity(frames.len() + 2);
    for (number, frame) in frames.iter().enumerate() {
        if *collector == Some(number as u32) {
            lines.push("    <gc>\n".into());
        }
        lines.push(one_frame(frame));
    }
    if frames.is_empty() && *end == End::Root && !torn {
        lines.push("    <native>\n".into());
    }
    match end {
        End::Root => {}
        End::Truncated => lines.push("    (deeper frames are not shown)\n".into()),
        End::Unreadable => lines.push("    (deeper frames could not be read)\n".into()),
    }
    if root_first {
        lines.reverse();
    }
    text.extend(lines);
}

fn one_frame(frame: &StackFrame) -> String {
    let StackFrame { function, file, line, locals } = frame;
    let Some(function) = function else { return "    (a code object that could not be read)\n".into() };
    let mut text = match line {
        0 => format!("    {} ({})\n", escape(function), escape(file)),
        line => format!("    {} ({}:{line})\n", escape(function), escape(file)),
    };
    for local in locals {
        let _ = writeln!(text, "        {} = {}", escape(&local.name), escape(&local.value));
    }
    text
}
