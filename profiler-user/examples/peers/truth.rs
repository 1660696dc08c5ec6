//! Which stacks a target can have, by its own construction, and what a reported stack is by that measure. No profiler is
//! the yardstick of another.

use std::collections::HashSet;
use std::path::Path;

/// Code that is not of the target's own script; what goes on inside it is not judged.
const OTHER: &str = "*";
/// Where a stack of CPython begins: a script, a thread of `threading`, `python -m`.
const ROOTS: [&str; 4] = ["<module>", "_bootstrap", "_run_module_as_main", "run_path"];
/// Names in angle brackets that are functions; the others are notes of a profiler: a collector, native code, idleness.
const REAL_IN_BRACKETS: [&str; 6] =
    ["<module>", "<lambda>", "<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>"];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Without the names of the classes and functions around it, which not every profiler reports.
    pub name: String,
    /// Without its directories.
    pub file: String,
}

impl Frame {
    pub fn new(name: &str, file: &str) -> Frame {
        let file = Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned());
        Frame {
            name: name.rsplit('.').next().unwrap_or(name).trim().to_owned(),
            file: file.unwrap_or_default(),
        }
    }

    fn is_note(&self) -> bool {
        let bracketed = self.name.starts_with('<') && !REAL_IN_BRACKETS.contains(&self.name.as_str());
        bracketed || self.file.is_empty() || self.file.starts_with('[') || self.file == "<native>"
    }
}

/// A stack as a profiler reports it, root first.
#[derive(Clone, Debug)]
pub struct Stack {
    pub frames: Vec<Frame>,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The target can have it, and it is whole.
    Right,
    /// All that is there can be, but it does not begin where stacks begin.
    Incomplete,
    /// No Python frame at all.
    Empty,
    /// One function calls another that it never calls, or there is no such function.
    Impossible,
}

/// Samples by what they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    pub right: u64,
    pub incomplete: u64,
    pub empty: u64,
    pub impossible: u64,
}

impl Judged {
    pub fn add(&mut self, other: &Judged) {
        self.right += other.right;
        self.incomplete += other.incomplete;
        self.empty += other.empty;
        self.impossible += other.impossible;
    }

    pub fn total(&self) -> u64 {
        self.right + self.incomplete + self.empty + self.impossible
    }
}

/// What a target says of itself.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    script: String,
    edges: HashSet<(String, String)>,
}

impl Truth {
    pub fn new(script: &str) -> Truth {
        Truth { script: script.to_owned(), edges: HashSet::new() }
    }

    /// A line `edge CALLER CALLEE` of the target; false for any other line.
    pub fn learn(&mut self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let (Some("edge"), Some(caller), Some(callee)) = (words.next(), words.next(), words.next()) else {
            return false;
        };
        self.edges.insert((caller.to_owned(), callee.to_owned()));
        true
    }

    pub fn judge(&self, stack: &Stack) -> Verdict {
        // A signal may come anywhere, and this one only has to do with the benchmark (targets/common.py).
        let frames = stack.frames.iter().take_while(|frame| !frame.name.starts_with("_inside_"));
        let frames: Vec<&Frame> = frames.filter(|frame| !frame.is_note()).collect();
        let Some(root) = frames.first() else { return Verdict::Empty };
        let known =
            |frame: &Frame| if frame.file == self.script { frame.name.clone() } else { OTHER.to_owned() };
        let possible = frames.windows(2).all(|pair| {
            let edge = (known(pair[0]), known(pair[1]));
            (edge.0 == OTHER && edge.1 == OTHER) || self.edges.contains(&edge)
        });
        let exists = |frame: &&Frame| {
            let name = known(frame);
            name == OTHER || self.edges.iter().any(|(caller, callee)| *caller == name || *callee == name)
        };
        if !possible || !frames.iter().all(exists) {
            return Verdict::Impossible;
        }
        if ROOTS.contains(&root.name.as_str()) { Verdict::Right } else { Verdict::Incomplete }
    }

    pub fn judge_all(&self, stacks: &[Stack]) -> Judged {
        let mut judged = Judged::default();
        for stack in stacks {
            let field = match self.judge(stack) {
                Verdict::Right => &mut judged.right,
                Verdict::Incomplete => &mut judged.incomplete,
                Verdict::Empty => &mut judged.empty,
                Verdict::Impossible => &mut judged.impossible,
            };
            *field += stack.count;
            if std::env::var_os("PEERS_SHOW").is_some() && self.judge(stack) != Verdict::Right {
                let names: Vec<String> =
                    stack.frames.iter().map(|frame| format!("{}@{}", frame.name, frame.file)).collect();
                eprintln!("{:?} {} {}", self.judge(stack), stack.count, names.join(";"));
            }
        }
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_held_against_the_calls_that_the_target_can_make() {
        let mut truth = Truth::new("t.py");
        for edge in
            ["<module> main", "main a", "a leaf_a", "main b", "b leaf_b", "* work", "work *", "<module> *"]
        {
            assert!(truth.learn(&format!("edge {edge}")));
        }
        assert!(!truth.learn("ready"));
        let check = |stack: &str, expected| {
            let frame = |name: &str| match name.strip_prefix('~') {
                Some(other) => Frame::new(other, "/lib/threading.py"),
                None => Frame::new(name, "/tmp/x/t.py"),
            };
            let frames = stack.split_whitespace().map(frame).collect();
            assert_eq!(truth.judge(&Stack { frames, count: 1 }), expected, "{stack}");
        };
        check("<module> main a leaf_a", Verdict::Right);
        check("<module> main", Verdict::Right);
        check("<module> main a leaf_b", Verdict::Impossible);
        check("<module> main leaf_a", Verdict::Impossible);
        check("<module> main a a", Verdict::Impossible);
        check("<module> main a nonsense", Verdict::Impossible);
        check("nonsense", Verdict::Impossible);
        check("a leaf_a", Verdict::Incomplete);
        check("<module> main a leaf_a <gc>", Verdict::Right);
        check("<native>", Verdict::Empty);
        assert!(Frame::new("range", "<native>").is_note());
        check("", Verdict::Empty);
        check("~Thread._bootstrap ~Thread.run work ~wait ~acquire", Verdict::Right);
        check("~Thread._bootstrap ~Thread.run main", Verdict::Impossible);
        check("~run work", Verdict::Incomplete);
        check("<module> ~run ~_run work", Verdict::Right);
    }
}
