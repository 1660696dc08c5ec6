//! What the interpreter says of a workload: which function ran on top of which callers at which lines.

use std::collections::{HashMap, HashSet};

use pyprof_tests::Frame;

/// A function, as (name, file, first line).
type Function = (String, String, i64);

/// Says that a stack has no caller.
const ROOT: i64 = -1;

/// What one recorder saw: a tree of callers, and the functions on top of them.
#[derive(Default)]
struct Table {
    codes: HashMap<Function, (i64, HashSet<i64>)>,
    /// (parent, function, line) -> node
    nodes: HashMap<(i64, i64, i64), i64>,
    leaves: HashSet<(i64, i64)>,
    /// Lines at which a function calls C code that takes its time.
    calls: HashMap<(i64, i64), HashSet<i64>>,
    musts: HashSet<i64>,
}

#[derive(Default)]
pub struct Truth {
    pub version: String,
    phases: HashMap<String, Vec<Table>>,
    /// What the interpreter has not, and what it says about that.
    pub absent: HashMap<String, String>,
}

fn text(hex: &str) -> Result<String, String> {
    if hex == "-" {
        return Ok(String::new());
    }
    let byte = |at| hex.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    let bytes = bytes.ok_or_else(|| format!("{hex:?} is not hexadecimal"))?;
    String::from_utf8(bytes).map_err(|error| format!("a name is not UTF-8: {error}"))
}

fn number(word: &str) -> Result<i64, String> {
    word.parse().map_err(|_| format!("{word:?} is no number"))
}

impl Truth {
    /// Adds what one process said, to its end.
    pub fn add(&mut self, said: &str) -> Result<(), String> {
        let mut phase = String::new();
        for line in said.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["table", name] = words[..] {
                phase = name.to_owned();
                self.phases.entry(phase.clone()).or_default().push(Table::default());
                continue;
            }
            match words[..] {
                ["version", version] => self.version = version.to_owned(),
                ["absent", name, why] => drop(self.absent.insert(name.to_owned(), text(why)?)),
                ["end"] => return Ok(()),
                _ => {
                    let table = self.phases.get_mut(&phase).and_then(|tables| tables.last_mut());
                    table.ok_or_else(|| format!("{line:?} before any table"))?.line(&words)?;
                }
            }
        }
        Err("the interpreter did not get to the end".to_owned())
    }

    pub fn has(&self, phase: &str) -> bool {
        self.phases.contains_key(phase)
    }

    fn tables(&self, phase: &str) -> impl Iterator<Item = &Table> {
        self.phases.get(phase).into_iter().flatten()
    }

    /// Why a stack, leaf first, cannot be; what any phase can show if `phase` is none of them.
    pub fn impossible(&self, phase: &str, frames: &[Frame], lag: Lag) -> Option<String> {
        let mut best = (0, "no table".to_owned());
        let all = self.phases.iter().filter(|(name, _)| phase.is_empty() || *name == phase);
        for table in all.flat_map(|(_, tables)| tables) {
            match table.check(frames, lag) {
                None => return None,
                Some(found) => best = best.max(found),
            }
        }
        Some(best.1)
    }

    /// Functions that a profile of the phase has to show.
    pub fn musts(&self, phase: &str) -> HashSet<Function> {
        let of_table = |table: &Table| -> Vec<Function> {
            let those = table.codes.iter().filter(|(_, (code, _))| table.musts.contains(code));
            those.map(|(function, _)| function.clone()).collect()
        };
        self.tables(phase).flat_map(of_table).collect()
    }

    /// The lines at which the leaf of this stack calls C code; none if it does not.
    pub fn calls(&self, phase: &str, frames: &[Frame]) -> Option<&HashSet<i64>> {
        self.tables(phase).find_map(|table| {
            let (node, code) = table.place(frames).ok()?;
            table.calls.get(&(node, code))
        })
    }

    /// All of these, as (name of the function, line).
    pub fn all_calls(&self, phase: &str) -> HashSet<(String, i64)> {
        let of_table = |table: &Table| -> Vec<(String, i64)> {
            let names: HashMap<i64, &str> =
                table.codes.iter().map(|((name, ..), (code, _))| (*code, name.as_str())).collect();
            let lines =
                table.calls.iter().flat_map(|((_, code), lines)| lines.iter().map(|line| (*code, *line)));
            lines.map(|(code, line)| (names[&code].to_owned(), line)).collect()
        };
        self.tables(phase).flat_map(of_table).collect()
    }
}

/// Whether the line of a leaf is as exact as that of a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    None,
    /// Compiled code stores where it is when it leaves.
    Leaf,
}

impl Table {
    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        match *words {
            ["code", code, first, name, file, lines] => {
                let lines: Result<HashSet<i64>, String> = lines.split(',').map(number).collect();
                let function = (text(name)?, text(file)?, number(first)?);
                self.codes.insert(function, (number(code)?, lines?));
            }
            ["node", node, parent, code, line] => {
                self.nodes.insert((number(parent)?, number(code)?, number(line)?), number(node)?);
            }
            ["leaf", parent, code] => drop(self.leaves.insert((number(parent)?, number(code)?))),
            ["call", parent, code, line] => {
                let lines = self.calls.entry((number(parent)?, number(code)?)).or_default();
                lines.insert(number(line)?);
            }
            ["must", code] => drop(self.musts.insert(number(code)?)),
            _ => return Err(format!("{words:?} is not understood")),
        }
        Ok(())
    }

    fn code(&self, frame: &Frame) -> Option<&(i64, HashSet<i64>)> {
        self.codes.get(&(frame.name.clone(), frame.file.clone(), frame.start_line))
    }

    /// The node of the callers and the function on top; else how far it goes, and why no further.
    fn place(&self, frames: &[Frame]) -> Result<(i64, i64), (usize, String)> {
        let (leaf, callers) = frames.split_first().ok_or((0, "an empty stack".to_owned()))?;
        let mut node = ROOT;
        for (at, frame) in callers.iter().rev().enumerate() {
            let why = || format!("no {} at {}:{} there", frame.name, frame.file, frame.line);
            let (code, _) = self.code(frame).ok_or_else(|| (at, why()))?;
            node = *self.nodes.get(&(node, *code, frame.line)).ok_or_else(|| (at, why()))?;
        }
        let missing = || format!("no {} of {}:{} there", leaf.name, leaf.file, leaf.start_line);
        let (code, _) = self.code(leaf).ok_or_else(|| (callers.len(), missing()))?;
        if !self.leaves.contains(&(node, *code)) {
            return Err((callers.len(), missing()));
        }
        Ok((node, *code))
    }

    fn check(&self, frames: &[Frame], lag: Lag) -> Option<(usize, String)> {
        let leaf = frames.first()?;
        match self.place(frames) {
            Err(why) => Some(why),
            Ok(_) if lag == Lag::Leaf => None,
            Ok(_) => {
                let has_line = self.code(leaf).is_some_and(|(_, lines)| lines.contains(&leaf.line));
                (!has_line).then(|| (frames.len(), format!("{} has no line {}", leaf.name, leaf.line)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// main (file f, line 1) at line 9 calls leaf (line 2, lines 2 and 3), in which `sum` is called at line 3.
    const SAID: &str = "version 3.9.1\nabsent b 6e6f\ntable a\ncode 0 1 6d 66 1,9\ncode 1 2 6c 66 2,3\n\
                        node 0 -1 0 9\nleaf -1 0\nleaf 0 1\ncall 0 1 3\nmust 1\nend\n";

    fn frame(name: &str, start_line: i64, line: i64) -> Frame {
        Frame { name: name.into(), file: "f".into(), line, start_line, address: 0 }
    }

    #[test]
    fn only_what_was_seen_is_possible() {
        let mut truth = Truth::default();
        truth.add(SAID).unwrap();
        assert_eq!((truth.version.as_str(), truth.absent["b"].as_str()), ("3.9.1", "no"));
        let main = frame("m", 1, 9);
        let rows = [
            (vec![frame("l", 2, 3), main.clone()], Lag::None, true),
            (vec![main.clone()], Lag::None, true),
            (vec![frame("l", 2, 4), main.clone()], Lag::None, false),
            (vec![frame("l", 2, 4), main.clone()], Lag::Leaf, true),
            (vec![frame("l", 2, 3), frame("m", 1, 8)], Lag::Leaf, false),
            (vec![frame("l", 3, 3), main.clone()], Lag::None, false),
            (vec![frame("l", 2, 3)], Lag::None, false),
            (vec![main.clone(), main.clone()], Lag::None, false),
            (vec![frame("l", 2, 3), main.clone(), main.clone()], Lag::None, false),
        ];
        for (stack, lag, possible) in rows {
            let why = truth.impossible("a", &stack, lag);
            assert_eq!(why.is_none(), possible, "{stack:?}: {why:?}");
            assert_eq!(truth.impossible("", &stack, lag).is_none(), possible, "{stack:?}");
        }
        let stack = [frame("l", 2, 2), main.clone()];
        assert_eq!(truth.calls("a", &stack), Some(&HashSet::from([3])));
        assert_eq!(truth.calls("a", &[main]), None);
        assert_eq!(truth.all_calls("a"), HashSet::from([("l".to_owned(), 3)]));
        assert_eq!(truth.musts("a"), HashSet::from([("l".to_owned(), "f".to_owned(), 2)]));
        assert!(truth.impossible("c", &stack, Lag::None).is_some());
    }

    #[test]
    fn a_truth_that_was_cut_short_is_none() {
        for said in ["", "table a\ncode 0 1 6d 66 1\n", "leaf 0 1\nend\n", "table a\nleaf x 1\nend\n"] {
            assert!(Truth::default().add(said).is_err(), "{said:?}");
        }
    }
}
