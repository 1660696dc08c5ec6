//! The bugs to plant: each is one that this kind of profiler has really had, or that a change could easily bring back.

use std::fmt;

use super::plant::Place;

/// The test that must notice.
pub(super) enum Proof {
    /// Without root.
    Host { package: &'static str, test: &'static str, filter: &'static str },
    /// On real interpreters, under real BPF.
    Live { test: &'static str, filter: &'static str },
    /// The same, by a measurement.
    Measured { test: &'static str, filter: &'static str },
}

impl Proof {
    pub(super) fn test(&self) -> &'static str {
        match self {
            Proof::Host { test, .. } | Proof::Live { test, .. } | Proof::Measured { test, .. } => test,
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::Host { package, test, filter } => write!(f, "{package} {test} {filter}"),
            Proof::Live { test, filter } | Proof::Measured { test, filter } => write!(f, "{test} {filter}"),
        }
    }
}

pub(super) struct Bug {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) proof: Proof,
}

impl Bug {
    pub(super) fn place(&self) -> Place {
        let Bug { name, file, from, to, .. } = *self;
        Place { name, file, from, to }
    }
}

const fn host(test: &'static str) -> Proof {
    Proof::Host { package: "pyunwind", test, filter: "" }
}

const fn live(test: &'static str) -> Proof {
    Proof::Live { test, filter: "" }
}

const fn measured(test: &'static str) -> Proof {
    Proof::Measured { test, filter: "" }
}

pub(super) const BUGS: [Bug; 21] = [
    Bug {
        name: "a NONE location entry resets the line",
        file: "pyunwind/src/host/lines.rs",
        from: "            15 => None,",
        to: "            15 => {\n                self.line = i64::from(self.table.first_line);\n                None\n            }",
        proof: host("lines"),
    },
    Bug {
        name: "the index of 3.10 is not doubled",
        file: "pyunwind/src/host/lines.rs",
        from: "* if self.kind == LINES_LNOTAB_2 {",
        to: "* if self.kind == LINES_LNOTAB_2 || self.kind == LINES_PEP626 {",
        proof: host("lines"),
    },
    Bug {
        name: "a code object is its pointers",
        file: "pyunwind/src/code.rs",
        from: "    Ok(CodeCheck { identity: (state ^ (state >> 32)) as u32,",
        to: "    let _ = state;\n    Ok(CodeCheck { identity: 1,",
        proof: live("churn"),
    },
    Bug {
        name: "a thread state without frames is taken",
        file: "pyunwind/src/thread.rs",
        from: "            if own && state.runs_python(layout) {\n",
        to: "            if own {\n",
        proof: host("threads"),
    },
    Bug {
        name: "an interpreter that another thread runs is taken",
        file: "pyunwind/src/nested.rs",
        from: "            && is_on_stack(cframe, self.stack_pointer, thread_pointer)\n",
        to: "",
        proof: host("nested"),
    },
    Bug {
        name: "the first sample of a stack is dropped",
        file: "profiler-user/src/pipeline/ingest.rs",
        from: "        let waiting = Waiting {\n            tid: sample.tid,",
        to: "        let empty = image.profile.stack(&[]);\n        if image.stacks.insert((sample.stack_hash, outcome as u8), empty).is_none() {\n            return;\n        }\n        let waiting = Waiting {\n            tid: sample.tid,",
        proof: measured("adds_up"),
    },
    Bug {
        name: "names are asked of the process, later",
        file: "profiler-user/src/pipeline/ingest.rs",
        from: "Record::Code(..) | Record::Lines(..) if self.free_bytes == 0 => {}",
        to: "Record::Code(..) | Record::Lines(..) if self.free_bytes != 0 => {}",
        proof: live("churn"),
    },
    Bug {
        name: "a sample weighs the nominal period",
        file: "profiler-common/src/tick.rs",
        from: "            self.weight_ns = if used_ns > 0 { used_ns as u64 } else { 0 };",
        to: "            self.weight_ns = if used_ns > 0 { period_ns } else { 0 };",
        proof: measured("adds_up"),
    },
    Bug {
        name: "a cframe is trusted before it is filled",
        file: "pyunwind/src/step.rs",
        from: "                walk.doubt = Doubt::Leaf;",
        to: "                walk.doubt = Doubt::None;",
        proof: host("cframes"),
    },
    Bug {
        name: "an entry frame of 3.11 is taken for a shim",
        file: "pyunwind/src/step.rs",
        from: "            if shim {",
        to: "            if entry {",
        proof: host("step"),
    },
    Bug {
        name: "an exec does not end the image before it",
        file: "profiler-user/src/pipeline/image.rs",
        from: "        let same_exec = self.key.exec_id == key.exec_id || self.key.exec_id == EXEC_ID_ANY;",
        to: "        let same_exec = self.key.exec_id != 0 || self.key.exec_id == EXEC_ID_ANY;",
        proof: measured("processes"),
    },
    Bug {
        name: "threads that share an id are merged",
        file: "profiler-user/src/profile/threads.rs",
        from: "        let (id, new) = self.ids.intern((process, tid, start_ns));",
        to: "        let (id, new) = self.ids.intern((process, tid, start_ns.min(1)));",
        proof: measured("threads"),
    },
    Bug {
        name: "Latin-1 is read as if it were ASCII",
        file: "pyunwind/src/host/strings.rs",
        from: "            [a] => char::from(a),",
        to: "            [a] => char::from(a & 0x7f),",
        proof: host("code_objects"),
    },
    Bug {
        name: "a code reference keeps its tag",
        file: "pyunwind/src/step.rs",
        from: " & !u64::from(layout.frame_code_tag));",
        to: ");",
        proof: measured("matrix"),
    },
    Bug {
        name: "the GIL is held by whom it was given last",
        file: "pyunwind/src/thread.rs",
        from: " && memory.field(8) as u32 == 1)",
        to: ")",
        proof: measured("matrix"),
    },
    Bug {
        name: "a recursion counts as often as it stands in a stack",
        file: "profiler-user/src/report/tally.rs",
        from: "if replace(&mut counted_by[key as usize], mark) != mark {",
        to: "if replace(&mut counted_by[key as usize], mark) != mark || depth > 0 {",
        proof: live("report"),
    },
    Bug {
        name: "of inlined lines the outermost is the leaf",
        file: "profiler-user/src/decode/pprof_samples.rs",
        from: "for schema::Line { function_id, line } in lines {",
        to: "for schema::Line { function_id, line } in lines.iter().rev() {",
        proof: live("report"),
    },
    Bug {
        name: "a capture that is longer has grown",
        file: "profiler-user/src/report/diff.rs",
        from: "if before_ns != after_ns => {",
        to: "if before_ns == after_ns => {",
        proof: live("report"),
    },
    Bug {
        name: "a stack counts though its thread ran meanwhile",
        file: "profiler-user/src/process/stacks.rs",
        from: "let still = after.stood_still_since(&before, pin.here());",
        to: "let still = after.runs() || !after.runs();",
        proof: Proof::Host { package: "profiler-user", test: "dump_running", filter: "" },
    },
    Bug {
        name: "what a process was before its exec goes on",
        file: "profiler-user/src/pipeline/ends.rs",
        from: "                image.exited |= is_older;\n",
        to: "                image.exited |= is_older && image.key.start_ns != key.start_ns;\n",
        proof: measured("top_soak"),
    },
    Bug {
        name: "a wait lasts until its thread has a CPU",
        file: "profiler-ebpf/src/sources/off_cpu.rs",
        from: "    let blocked_ns = away_ns.wrapping_sub(delay_ns);\n",
        to: "    let blocked_ns = away_ns;\n",
        proof: measured("off_cpu"),
    },
];
