//! Collapsed stacks: one line per stack, root first, and what it weighs. What `flamegraph.pl`, inferno and speedscope take,
//! and what `grep` and `awk` are good at.

use super::titles;
use crate::escape::escape;
use crate::profile::{LocationId, Profile, Sample};
use std::io::{self, Write};

/// A line is `PROCESS;THREAD;FRAME;FRAME WEIGHT`; the first two only where there is more than one of the kind.
pub(super) fn encode(profiles: &[&Profile], writer: &mut dyn Write) -> io::Result<()> {
    let processes: usize = profiles.iter().map(|profile| profile.processes().len()).sum();
    for profile in profiles {
        let mut samples: Vec<Sample> = profile.samples().collect();
        samples.sort_unstable_by_key(|sample| (sample.thread, sample.stack));
        // One stack in several contexts (with the GIL and without) is one line.
        for same in samples.chunk_by(|a, b| (a.thread, a.stack) == (b.thread, b.stack)) {
            let weight = same.iter().fold(0u64, |sum, sample| sum.saturating_add(sample.total.weight_ns));
            let Some(first) = same.first().filter(|_| weight > 0) else { continue };
            let mut line = Line { writer, is_first: true };
            if let Some(thread) = profile.threads().get(first.thread.index()) {
                if let Some(process) = profile.process_at(thread.process).filter(|_| processes > 1) {
                    line.frame(&titles::process(process))?;
                }
                if profile.threads().len() > 1 {
                    line.frame(&titles::thread(profile, thread))?;
                }
            }
            let mut locations: Vec<LocationId> = profile.stack_locations(first.stack).collect();
            locations.reverse();
            for location in locations {
                line.frame(&frame(profile, location))?;
            }
            line.end(weight)?;
        }
    }
    writer.flush()
}

/// `name (/path/file.py:12)`, or the name alone for what is in no file.
fn frame(profile: &Profile, location: LocationId) -> String {
    let location = profile.locations()[location.index()];
    let function = profile.functions()[location.function.index()];
    let (name, file) = (profile.string(function.name), profile.string(function.file));
    match file {
        "" => name.into(),
        file => format!("{name} ({file}:{})", location.line),
    }
}

struct Line<'a> {
    writer: &'a mut dyn Write,
    is_first: bool,
}

impl Line<'_> {
    fn frame(&mut self, text: &str) -> io::Result<()> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.writer.write_all(b";")?;
        }
        // The one character that means something here; an ending of a line is a control character, and escaped.
        self.writer.write_all(escape(text).replace(';', ":").as_bytes())
    }

    fn end(self, weight: u64) -> io::Result<()> {
        let empty = if self.is_first { "<no frames>" } else { "" };
        writeln!(self.writer, "{empty} {weight}")
    }
}
