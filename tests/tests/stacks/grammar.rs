//! Which stacks a workload can have: an automaton over (function, line), read from the annotations of its source.
//!
//! A comment `#: caller>callee` on a line says that this line of `caller` calls `callee`; `label=<lambda>` names a code
//! object that starts on the line; `@-11` and `@12-` limit a call to the versions up to 3.11 or from 3.12 on
//! (comprehensions have a frame of their own up to 3.11, PEP 709). What no line says cannot be.

use std::collections::{HashMap, HashSet};

use pyprof_tests::{Frame, Python};

#[derive(Debug)]
struct Function {
    /// As the profile shows it: qualified from 3.11 on.
    name: String,
    first_line: i64,
    last_line: i64,
}

#[derive(Debug)]
pub struct Grammar {
    functions: Vec<Function>,
    by_label: HashMap<String, usize>,
    /// (caller, its line, callee)
    calls: HashSet<(usize, i64, usize)>,
    /// Instructions without a line exist (PEP 626 says where; before, each had one).
    has_lineless: bool,
}

fn holds(version: &str, minor: u8) -> bool {
    let number =
        |text: &str, default| if text.is_empty() { default } else { text.parse().expect("a minor version") };
    let (from, to) = version.split_once('-').expect("a range of minor versions");
    (number(from, 0)..=number(to, u8::MAX)).contains(&minor)
}

/// `label=<name>`: defines a code object; everything else on the line is a call.
fn definition(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(label, _)| !label.contains('>'))
}

impl Grammar {
    pub fn new(source: &str, python: &Python) -> Grammar {
        let mut grammar = Grammar {
            functions: Vec::new(),
            by_label: HashMap::new(),
            calls: HashSet::new(),
            has_lineless: python.minor >= 10,
        };
        let end = source.lines().count() as i64;
        grammar.define("<module>", "<module>".to_owned(), 1, end);
        let (mut class, mut within) = (None, String::new());
        let mut open = None;
        let lines = || source.lines().zip(1..).map(|(line, number)| (line, number as i64));
        for (line, number) in lines() {
            let text = line.trim_start();
            if line.starts_with(|first: char| !first.is_whitespace() && first != '#') {
                (class, within) = (None, String::new());
            }
            if let Some(rest) = text.strip_prefix("class ") {
                class = Some(rest.trim_end_matches(':').to_owned());
            }
            if let Some(rest) = text.strip_prefix("def ") {
                let name = rest.split('(').next().expect("a name");
                let label = class.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
                let shown = if python.minor >= 11 { label.clone() } else { name.to_owned() };
                open = Some(grammar.define(&label, shown, number, number));
                within = format!("{label}.<locals>.");
            } else if let (Some(open), false, true) = (open, text.is_empty(), line.starts_with(' ')) {
                grammar.functions[open].last_line = number;
            }
            for (label, name) in annotations(line).filter_map(definition) {
                let within = if python.minor >= 11 { within.as_str() } else { "" };
                grammar.define(label, format!("{within}{name}"), number, number);
            }
        }
        for (line, number) in lines() {
            for word in annotations(line).filter(|word| definition(word).is_none()) {
                let (call, version) = word.split_once('@').unwrap_or((word, "-"));
                if holds(version, python.minor) {
                    let (caller, callee) = call.rsplit_once('>').expect("caller>callee");
                    grammar.calls.insert((grammar.by_label[caller], number, grammar.by_label[callee]));
                }
            }
        }
        grammar
    }

    fn define(&mut self, label: &str, name: String, first_line: i64, last_line: i64) -> usize {
        let index = self.functions.len();
        self.functions.push(Function { name, first_line, last_line });
        let old = self.by_label.insert(label.to_owned(), index);
        assert!(old.is_none(), "{label} is defined twice");
        index
    }

    fn function(&self, frame: &Frame) -> Option<usize> {
        self.functions.iter().position(|function| {
            // The first line of a module is 1, and 0 from 3.13 on where nothing says otherwise: the name is enough.
            function.name == frame.name
                && (function.first_line == frame.start_line || frame.name == "<module>")
        })
    }

    /// Why a stack, leaf first, cannot be.
    pub fn impossible(&self, frames: &[Frame]) -> Option<String> {
        let root = frames.last()?;
        if root.name != "<module>" {
            return Some(format!("{} is the root", root.name));
        }
        self.impossible_part(frames)
    }

    /// The same for a stack of which the root may be missing.
    pub fn impossible_part(&self, frames: &[Frame]) -> Option<String> {
        let mut caller: Option<(usize, &Frame)> = None;
        for frame in frames.iter().rev() {
            let Some(function) = self.function(frame) else {
                return Some(format!("no function is {} (first line {})", frame.name, frame.start_line));
            };
            if let Some((caller, at)) = caller
                && !self.calls.contains(&(caller, at.line, function))
            {
                return Some(format!("{} at line {} does not call {}", at.name, at.line, frame.name));
            }
            caller = Some((function, frame));
        }
        let (function, leaf) = caller?;
        let Function { first_line, last_line, .. } = self.functions[function];
        let lineless = self.has_lineless && leaf.line == 0;
        if lineless || (first_line..=last_line).contains(&leaf.line) {
            return None;
        }
        Some(format!("{} has no line {}", leaf.name, leaf.line))
    }
}

fn annotations(line: &str) -> impl Iterator<Item = &str> {
    line.split_once("#: ").map(|(_, rest)| rest.split_whitespace()).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::Grammar;
    use pyprof_tests::{Frame, Python};

    const SOURCE: &str = "def leaf():\n    pass\n\ndef a():\n    leaf()  #: a>leaf\n\
                          \x20   [leaf() for _ in x]  #: c=<listcomp> a>c@-11 c>leaf@-11 a>leaf@12-\na()  #: <module>>a\n";

    fn frame(name: &str, start_line: i64, line: i64) -> Frame {
        Frame { name: name.into(), file: String::new(), line, start_line, address: 0 }
    }

    #[test]
    fn only_annotated_calls_are_possible() {
        let python = |minor| Python { path: "".into(), minor, version: String::new(), is_static: false };
        let module = frame("<module>", 1, 7);
        let leaf = frame("leaf", 1, 2);
        // (minor, stack leaf first, possible)
        let rows = [
            (8, vec![leaf.clone(), frame("a", 4, 5), module.clone()], true),
            (8, vec![leaf.clone(), frame("a", 4, 6), module.clone()], false),
            (12, vec![leaf.clone(), frame("a", 4, 6), module.clone()], true),
            (8, vec![leaf.clone(), frame("<listcomp>", 6, 6), frame("a", 4, 6), module.clone()], true),
            (
                11,
                vec![leaf.clone(), frame("a.<locals>.<listcomp>", 6, 6), frame("a", 4, 6), module.clone()],
                true,
            ),
            (
                12,
                vec![leaf.clone(), frame("a.<locals>.<listcomp>", 6, 6), frame("a", 4, 6), module.clone()],
                false,
            ),
            (8, vec![leaf.clone(), module.clone()], false),
            (8, vec![leaf.clone(), frame("a", 4, 5)], false),
            (8, vec![frame("a", 4, 7), module.clone()], false),
            (8, vec![frame("a", 5, 5), module.clone()], false),
            (8, vec![frame("b", 4, 5), module], false),
        ];
        for (minor, stack, possible) in rows {
            let why = Grammar::new(SOURCE, &python(minor)).impossible(&stack);
            assert_eq!(why.is_none(), possible, "3.{minor}: {stack:?}: {why:?}");
        }
    }
}
