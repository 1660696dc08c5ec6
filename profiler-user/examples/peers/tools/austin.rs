//! austin: it reads the target while it runs. Its output is MOJO (github.com/P403n1x87/austin, `src/mojo.h`).

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Clock, Collected, How, Job, Outside, Tool, files, number_after};
use crate::truth::{Frame, Stack};
use crate::workload::Launch;

pub const TOOL: Tool = Tool {
    name: "austin",
    part: "austin",
    fixed_hz: None,
    minors: &[13],
    clock: Clock::Wall,
    how: How::Outside(Outside {
        ends_with: 254,
        serves_all: false,
        command: |job, pid| {
            let mut command = Command::new(job.kit.directory.join("austin/bin/austin"));
            command.args(["--cpu", "--interval", &format!("{}us", 1_000_000 / job.hz)]);
            command.args(["--exposure", &job.seconds.to_string(), "--pid", &pid.to_string()]);
            command.arg("--output").arg(job.directory.join(format!("stacks.{pid}")));
            command.args(job.with_children.then_some("--children"));
            Some(command)
        },
        read,
        launch: |_| Launch::default(),
    }),
};

fn read(job: &Job, said: &str) -> Result<Collected> {
    let mut collected = Collected::default();
    for file in files(job, "stacks.")? {
        collected.stacks.extend(mojo(&fs::read(file)?)?);
    }
    // `Error rate . . . 0/278 (0.00%)`, with colours between.
    for line in said.lines().filter(|line| line.contains("Error rate")) {
        let ratio = line.split('m').find(|part| part.contains('/')).unwrap_or_default();
        let errors = ratio.split('/').next().and_then(|errors| errors.trim().parse::<u64>().ok());
        collected.rejected += errors.or(number_after(line, "m").map(|n| n as u64)).unwrap_or(0);
    }
    Ok(collected)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Six bits and a sign in the first byte, seven in each one that follows.
    fn number(&mut self) -> Option<i128> {
        let mut byte = self.byte()?;
        let negative = byte & 0x40 != 0;
        let (mut value, mut shift) = (i128::from(byte & 0x3f), 6);
        while byte & 0x80 != 0 && shift < 90 {
            byte = self.byte()?;
            value |= i128::from(byte & 0x7f) << shift;
            shift += 7;
        }
        Some(if negative { -value } else { value })
    }

    fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&self.0[..end]).ok()?;
        self.0 = &self.0[end + 1..];
        Some(text)
    }
}

/// Each sample is a stack event, its frames root first, and a metric.
fn mojo(bytes: &[u8]) -> Result<Vec<Stack>> {
    let bytes = bytes.strip_prefix(b"MOJ\x03").context("not MOJO of version 3")?;
    let mut reader = Reader(bytes);
    let mut file = Mojo::default();
    while let Some(event) = reader.byte() {
        ensure!(event <= LAST_EVENT, "MOJO has no event {event}");
        // A file that was cut short ends in the middle of an event, which is then not a sample.
        if file.event(event, &mut reader).is_none() {
            break;
        }
    }
    ensure!(!file.stacks.is_empty() || bytes.len() < 256, "no sample in {} bytes of MOJO", bytes.len());
    Ok(file.stacks)
}

const UNKNOWN_STRING: i128 = 1;
const LAST_EVENT: u8 = 12;

/// What events refer to, and what they make.
#[derive(Default)]
struct Mojo<'a> {
    strings: HashMap<i128, &'a str>,
    known: HashMap<i128, Frame>,
    stacks: Vec<Stack>,
}

impl<'a> Mojo<'a> {
    /// `None` where the file ends within the event.
    fn event(&mut self, event: u8, reader: &mut Reader<'a>) -> Option<()> {
        match event {
            1 => drop((reader.text()?, reader.text()?)),
            // Process, interpreter, thread.
            2 => {
                let _ids = (reader.number()?, reader.number()?, reader.text()?);
                self.stacks.push(Stack { frames: Vec::new(), count: 1 });
            }
            3 => {
                let (key, file, name) = (reader.number()?, reader.number()?, reader.number()?);
                for _lines_and_columns in 0..4 {
                    reader.number()?;
                }
                let frame = Frame::new(self.string(name), self.string(file));
                self.known.insert(key, frame);
            }
            4 => self.add(Frame::new("<invalid>", "?")),
            5 => {
                let key = reader.number()?;
                let frame = self.known.get(&key).cloned();
                self.add(frame.unwrap_or_else(|| Frame::new("<invalid>", "?")));
            }
            6 => drop(reader.text()?),
            9 | 10 | 12 => drop(reader.number()?),
            11 => {
                let key = reader.number()?;
                self.strings.insert(key, reader.text()?);
            }
            // A collection, idleness.
            _ => {}
        }
        Some(())
    }

    fn string(&self, key: i128) -> &'a str {
        if key == UNKNOWN_STRING { "<unknown>" } else { self.strings.get(&key).copied().unwrap_or("?") }
    }

    fn add(&mut self, frame: Frame) {
        if let Some(stack) = self.stacks.last_mut() {
            stack.frames.push(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_its_references_root_first() {
        let mut bytes = b"MOJ\x03\x01mode\0wall\0\x02\x82\x69\x001a42\0".to_vec();
        bytes.extend(b"\x0b\x05/t/rec.py\0\x0b\x06leaf\0\x03\x07\x05\x06\x01\x01\x01\x01");
        bytes.extend(b"\x0b\x08main\0\x03\x09\x05\x08\x01\x01\x01\x01\x05\x09\x05\x07\x09\x0a");
        let stacks = mojo(&bytes).unwrap();
        let frames = vec![Frame::new("main", "rec.py"), Frame::new("leaf", "rec.py")];
        assert_eq!((stacks.len(), &stacks[0].frames), (1, &frames));
        assert_eq!(Reader(b"\x82\x69").number(), Some(6722));
        assert_eq!(Reader(b"\x41").number(), Some(-1));
        assert!(mojo(b"MOJ\x03\x3f").is_err());
    }
}
