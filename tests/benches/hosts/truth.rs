//! What the interpreter said of its work, and whether a stack of a profile can be.

use pyprof_tests::Frame;
use serde::Deserialize;

/// The function that tells the stacks is no part of them.
const TELLER: &str = "note";
/// Through one of these goes all work, and they call others besides: to wait, to wake, to write,
const REQUEST: [&str; 2] = ["handle", "Beside.serve"];
/// or by way of these.
const BESIDES: [&str; 2] = ["Beside.work", "Beside.__init__"];

/// What one request made a process say (`tests/targets/hosts/work.py`).
#[derive(Deserialize, Debug)]
pub struct Report {
    /// As the process itself knows it.
    pub pid: u32,
    pub version: String,
    /// Where the work is.
    file: String,
    pub stacks: Vec<Stack>,
}

#[derive(Deserialize, Debug)]
pub struct Stack {
    pub tid: i64,
    /// What Python calls the thread, if it calls it anything.
    pub thread: Option<String>,
    /// Of the thread, on the clock of that thread.
    pub ns: u64,
    /// Leaf first.
    frames: Vec<Said>,
}

/// Name, file, first line, current line, all lines.
#[derive(Deserialize, Debug)]
struct Said(String, String, i64, i64, Vec<i64>);

impl Said {
    fn is(&self, frame: &Frame) -> bool {
        (&self.0, &self.1, self.2) == (&frame.name, &frame.file, frame.start_line)
    }
}

impl Stack {
    /// Whether these frames, leaf first, are the stack itself, with the leaf at one of its lines.
    pub fn is(&self, frames: &[Frame]) -> bool {
        self.frames.len() == frames.len() && self.begins(frames)
    }

    /// The stack, or its callers while what they call had not begun or was over.
    fn begins(&self, frames: &[Frame]) -> bool {
        let Some((leaf, callers)) = frames.split_first() else { return false };
        let Some(at) = self.frames.len().checked_sub(frames.len()) else { return false };
        let said = &self.frames[at];
        said.is(leaf)
            && said.4.contains(&leaf.line)
            && self.frames[at + 1..]
                .iter()
                .zip(callers)
                .all(|(said, frame)| said.is(frame) && said.3 == frame.line)
    }

    pub fn leaf(&self) -> &str {
        self.frames.first().map_or("", |said| said.0.as_str())
    }
}

impl Report {
    pub fn parse(text: &str) -> Result<Report, String> {
        serde_json::from_str(text).map_err(|error| format!("the host said {text:?}: {error}"))
    }

    /// What a stack shows of the work: without what the request calls besides. `None` if it shows none, or the teller,
    /// whose stacks nobody tells.
    pub fn shown<'a>(&self, frames: &'a [Frame]) -> Option<&'a [Frame]> {
        let is_one =
            |frame: &Frame, names: &[&str]| frame.file == self.file && names.contains(&frame.name.as_str());
        let leaves: Vec<&str> = self.stacks.iter().map(Stack::leaf).collect();
        let concerns = |frame: &Frame| is_one(frame, &REQUEST) || is_one(frame, &leaves);
        if frames.iter().any(|frame| is_one(frame, &[TELLER])) || !frames.iter().any(concerns) {
            return None;
        }
        let top = frames.iter().position(|frame| frame.file == self.file)?;
        if !is_one(&frames[top], &BESIDES) && !is_one(&frames[top], &REQUEST) {
            return Some(frames);
        }
        frames.iter().position(|frame| is_one(frame, &REQUEST)).map(|request| &frames[request..])
    }

    /// Whether a stack that shows the work can be.
    pub fn has(&self, frames: &[Frame]) -> bool {
        self.stacks.iter().any(|stack| stack.begins(frames))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// main (file f, line 1) at line 9 calls handle (line 2) at line 3, which calls leaf (line 5, lines 5 and 6).
    const SAID: &str = r#"{"pid": 7, "version": "3.9.1", "file": "f", "stacks": [{"tid": 7, "thread": null, "ns": 5, "frames": [
        ["leaf", "f", 5, 6, [5, 6]], ["handle", "f", 2, 3, [2, 3, 4]], ["main", "m", 1, 9, [1, 9]]]}]}"#;

    fn frame(name: &str, file: &str, start_line: i64, line: i64) -> Frame {
        Frame { name: name.into(), file: file.into(), line, start_line, address: 0 }
    }

    #[test]
    fn only_what_was_said_can_be() {
        let report = Report::parse(SAID).expect("JSON");
        let leaf = |line| frame("leaf", "f", 5, line);
        let handle = |line| frame("handle", "f", 2, line);
        let main = |line| frame("main", "m", 1, line);
        // The stack; does it show the work; can it be; is it the work.
        let rows = [
            (vec![leaf(5), handle(3), main(9)], true, true, true),
            (vec![leaf(6), handle(3), main(9)], true, true, true),
            (vec![leaf(7), handle(3), main(9)], true, false, false),
            (vec![leaf(6), handle(4), main(9)], true, false, false),
            (vec![leaf(6), handle(3), main(1)], true, false, false),
            (vec![frame("leaf", "f", 6, 6), handle(3), main(9)], true, false, false),
            (vec![leaf(6), main(9)], true, false, false),
            (vec![leaf(6), leaf(6), handle(3), main(9)], true, false, false),
            (vec![leaf(6), handle(3), main(9), main(9)], true, false, false),
            (vec![frame("dumps", "j", 1, 1), leaf(6), handle(3), main(9)], true, false, false),
            (vec![handle(4), main(9)], true, true, false),
            (vec![frame("dumps", "j", 1, 1), handle(4), main(9)], true, true, false),
            (vec![frame("dumps", "j", 1, 1), handle(4), main(1)], true, false, false),
            (
                vec![frame("wait", "t", 1, 1), frame("Beside.work", "f", 8, 9), handle(4), main(9)],
                true,
                true,
                false,
            ),
            (vec![frame("Beside.work", "f", 8, 9), handle(9), main(9)], true, false, false),
            (vec![handle(5), main(9)], true, false, false),
            (vec![main(1)], false, false, false),
            (vec![frame("note", "f", 20, 21), leaf(5), handle(3), main(9)], false, false, false),
            (vec![frame("other", "g", 2, 3)], false, false, false),
        ];
        for (frames, shows, can_be, is) in rows {
            let shown = report.shown(&frames);
            let found = (shown.is_some(), shown.is_some_and(|shown| report.has(shown)));
            assert_eq!((found, report.stacks[0].is(&frames)), ((shows, can_be), is), "{frames:?}");
        }
    }

    #[test]
    fn a_report_that_was_cut_short_is_none() {
        assert!(Report::parse(&SAID[..100]).is_err());
    }
}
