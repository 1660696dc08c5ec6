//! Labels of samples: which of them name the process and the thread, under the names that writers of pprof gave them.

use crate::profile::{Context, Gil, Labels};
use crate::syscalls::syscall_number;
use std::borrow::Cow;

/// What a label says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Pid,
    Tid,
    /// A number that Python gives to a thread, mostly an address: no number of the kernel's.
    PythonTid,
    ThreadName,
    OsThreadName,
    Generation,
    Gil,
    Interpreter,
    Syscall,
    Service,
    Env,
    Version,
    ContainerId,
    PodUid,
    Unit,
    /// Wall clock at the end of what the sample stands for, in nanoseconds.
    EndTime,
    Other,
}

/// Our own names first; then those of ddtrace, perf_data_converter, the OpenTelemetry profiler and Pyroscope.
const KEYS: [(&str, Role); 29] = [
    ("pid", Role::Pid),
    ("thread_id", Role::Tid),
    ("thread_name", Role::ThreadName),
    ("os_thread_name", Role::OsThreadName),
    ("thread_generation", Role::Generation),
    ("gil", Role::Gil),
    ("interpreter_id", Role::Interpreter),
    ("syscall", Role::Syscall),
    ("service", Role::Service),
    ("env", Role::Env),
    ("version", Role::Version),
    ("container_id", Role::ContainerId),
    ("pod_uid", Role::PodUid),
    ("unit", Role::Unit),
    ("end_timestamp_ns", Role::EndTime),
    ("process_id", Role::Pid),
    ("process.pid", Role::Pid),
    ("process id", Role::Pid),
    ("tid", Role::Tid),
    ("thread native id", Role::Tid),
    ("thread.id", Role::Tid),
    ("thread id", Role::PythonTid),
    ("thread name", Role::ThreadName),
    ("thread.name", Role::ThreadName),
    ("thread_comm", Role::ThreadName),
    ("comm", Role::OsThreadName),
    ("service_name", Role::Service),
    ("service.name", Role::Service),
    ("container.id", Role::ContainerId),
];

pub(super) fn role(key: &str) -> Role {
    KEYS.iter().find(|(name, _)| *name == key).map_or(Role::Other, |(_, role)| *role)
}

/// Whom a sample is of. Texts stay where they are in the file: most samples say what the one before said.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Who<'a> {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) python_tid: Cow<'a, str>,
    pub(super) thread_name: Cow<'a, str>,
    pub(super) os_thread_name: Cow<'a, str>,
    pub(super) generation: u32,
    pub(super) context: Context,
    pub(super) end_unix_ns: Option<u64>,
    service: Cow<'a, str>,
    env: Cow<'a, str>,
    version: Cow<'a, str>,
    container_id: Cow<'a, str>,
    pod_uid: Cow<'a, str>,
    unit: Cow<'a, str>,
}

impl<'a> Who<'a> {
    /// False where the label has no place here. A value may stand as a number or as text.
    pub(super) fn take(&mut self, role: Role, text: Cow<'a, str>, number: i64) -> bool {
        let small = if text.is_empty() { u32::try_from(number).ok() } else { text.parse().ok() };
        let number_into = |field: &mut u32| small.map(|value| *field = value).is_some();
        let field = match role {
            Role::Pid => return number_into(&mut self.pid),
            Role::Tid => return number_into(&mut self.tid),
            Role::Generation => return number_into(&mut self.generation),
            Role::Interpreter => return number_into(&mut self.context.interpreter),
            Role::PythonTid => {
                self.python_tid = if text.is_empty() { number.to_string().into() } else { text };
                return true;
            }
            Role::Gil => {
                self.context.gil = match &*text {
                    "held" => Gil::Held,
                    "not held" => Gil::NotHeld,
                    "waiting" => Gil::Awaited,
                    _ => return false,
                };
                return true;
            }
            Role::Syscall => {
                self.context.syscall = syscall_number(&text);
                return self.context.syscall.is_some();
            }
            Role::EndTime => {
                self.end_unix_ns = u64::try_from(number).ok();
                return self.end_unix_ns.is_some();
            }
            Role::Other => return false,
            Role::ThreadName => &mut self.thread_name,
            Role::OsThreadName => &mut self.os_thread_name,
            Role::Service => &mut self.service,
            Role::Env => &mut self.env,
            Role::Version => &mut self.version,
            Role::ContainerId => &mut self.container_id,
            Role::PodUid => &mut self.pod_uid,
            Role::Unit => &mut self.unit,
        };
        *field = text;
        !field.is_empty()
    }

    /// What the thread is shown as: threads without any name or number are one.
    pub(super) fn shown_thread_name(&self) -> Cow<'a, str> {
        match (self.thread_name.is_empty(), self.tid, self.python_tid.is_empty()) {
            (true, 0, false) => format!("thread {}", self.python_tid).into(),
            _ => self.thread_name.clone(),
        }
    }

    pub(super) fn labels(&self) -> Labels {
        let own = |text: &Cow<'a, str>| (!text.is_empty()).then(|| text.to_string());
        Labels {
            service: own(&self.service),
            env: own(&self.env),
            version: own(&self.version),
            container_id: own(&self.container_id),
            pod_uid: own(&self.pod_uid),
            unit: own(&self.unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_by_any_of_their_names() {
        let rows: &[(&str, &str, i64, bool)] = &[
            ("pid", "", 7, true),
            ("process_id", "8", 0, true),
            ("pid", "", -1, false),
            ("pid", "", 1 << 32, false),
            ("pid", "x", 3, false),
            ("thread id", "", 140_737_353_000_000, true),
            ("gil", "held", 0, true),
            ("syscall", "futex", 0, true),
            ("syscall", "no such call", 0, false),
            ("gil", "maybe", 0, false),
            ("service", "", 0, false),
            ("span id", "1", 0, false),
        ];
        let mut who = Who::default();
        for (key, text, number, taken) in rows {
            assert_eq!(who.take(role(key), (*text).into(), *number), *taken, "{key}");
        }
        assert_eq!((who.pid, who.context.gil), (8, Gil::Held));
        assert_eq!(who.shown_thread_name(), "thread 140737353000000");
    }
}
