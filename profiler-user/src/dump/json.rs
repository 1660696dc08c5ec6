//! A dump for programs. What cannot be told is null; a stack is marked by `torn` and by how it ends.

use serde_json::{Value, json};

use super::Dumped;
use super::text::state_name;
use crate::reader::stacks::{End, Gil, Python, StackFrame, Thread};
use crate::syscalls::syscall_name;

pub(super) fn process(dumped: &Dumped, root_first: bool) -> Value {
    let Dumped { pid, name, python, executable, signal, stacks } = dumped;
    let threads = stacks.threads.iter().map(|thread| one_thread(thread, root_first));
    let strays = stacks.strays.iter().map(|python| stack(python, root_first));
    json!({
        "pid": pid,
        "name": name,
        "python_version": python,
        "executable": executable,
        "signal": signal,
        "threads": threads.collect::<Vec<_>>(),
        "unassigned": strays.collect::<Vec<_>>(),
        "complete": !stacks.more && !stacks.cut,
    })
}

fn one_thread(thread: &Thread, root_first: bool) -> Value {
    let Thread { tid, name, state, cpu, syscall, wchan, python } = thread;
    json!({
        "tid": tid,
        "os_name": name,
        "state": state_name(*state),
        "state_letter": (*state != 0).then(|| char::from(*state).to_string()),
        "cpu": cpu,
        "syscall": syscall.and_then(syscall_name),
        "syscall_number": syscall,
        "wchan": wchan,
        "stacks": python.iter().map(|python| stack(python, root_first)).collect::<Vec<_>>(),
    })
}

fn stack(python: &Python, root_first: bool) -> Value {
    let Python { ident, name, daemon, interpreter, gil, frames, collector, end, torn } = python;
    let mut all: Vec<Value> = Vec::with_capacity(frames.len() + 1);
    for (number, frame) in frames.iter().enumerate() {
        if *collector == Some(number as u32) {
            all.push(json!({ "function": "<gc>", "file": "", "line": 0 }));
        }
        all.push(one_frame(frame));
    }
    if root_first {
        all.reverse();
    }
    json!({
        "ident": ident,
        "name": name,
        "daemon": daemon,
        "interpreter": interpreter,
        "gil": match gil {
            Gil::Unknown => Value::Null,
            Gil::Holds => "holds".into(),
            Gil::Waits => "waits".into(),
            Gil::Without => "no".into(),
        },
        "frames": all,
        "end": match end {
            End::Root => "complete",
            End::Truncated => "truncated",
            End::Unreadable => "unreadable",
        },
        "torn": torn,
    })
}

fn one_frame(frame: &StackFrame) -> Value {
    let StackFrame { function, file, line, locals } = frame;
    let mut value = json!({ "function": function, "file": file, "line": line });
    if !locals.is_empty() {
        let locals = locals.iter().map(|it| json!({ "name": it.name, "type": it.kind, "value": it.value }));
        value["locals"] = locals.collect();
    }
    value
}
