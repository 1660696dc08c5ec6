//! Collapsed stacks, in the two dialects that the peers write: a line is frames, root first, and a count.

use crate::truth::{Frame, Stack};

/// `name (file);name (file) count`, of py-spy with `--nolineno`.
pub fn py_spy(text: &str) -> Vec<Stack> {
    // `process 12:"python"` and `thread (0x..)` are not frames.
    lines(text, |frame| {
        let (name, file) = frame.rsplit_once(" (")?;
        (name != "thread").then(|| Frame::new(name, file.trim_end_matches(')')))
    })
}

/// `tid:1;file:name:line;... count`, of Tachyon.
pub fn tachyon(text: &str) -> Vec<Stack> {
    lines(text, |frame| {
        if frame.starts_with("tid:") {
            return None;
        }
        let mut parts = frame.rsplitn(3, ':');
        let (_line, name, file) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Frame::new(name, file))
    })
}

fn lines(text: &str, frame: fn(&str) -> Option<Frame>) -> Vec<Stack> {
    let one = |line: &str| {
        let (frames, count) = line.rsplit_once(' ')?;
        Some(Stack { frames: frames.split(';').filter_map(frame).collect(), count: count.parse().ok()? })
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_give_the_same_stack() {
        let names = |stacks: Vec<Stack>| {
            let stack = &stacks[0];
            let frames: Vec<String> =
                stack.frames.iter().map(|frame| format!("{}@{}", frame.name, frame.file)).collect();
            (frames.join(" "), stack.count, stacks.len())
        };
        let expected = ("<module>@rec.py _bootstrap@threading.py".to_owned(), 12, 1);
        assert_eq!(names(py_spy("<module> (rec.py);_bootstrap (threading.py) 12\n")), expected);
        assert_eq!(
            names(tachyon("tid:7;/t/rec.py:<module>:14;threading.py:Thread._bootstrap:9 12")),
            expected
        );
    }
}
