//! A flame graph as one HTML file that needs no network, no server and no installation.
//!
//! Not by the crate `inferno`: its SVG is drawn once for one order and one width, so it can neither be turned upside down
//! nor be narrowed to a process or a thread, and a screen reader finds no table in it. Here the file holds the data, and
//! the page draws what is asked for.

mod fold;

use super::{json, titles};
use crate::profile::{CaptureMeta, LocationId, Profile};
use crate::utc;
use fold::{Entry, Folded, fold};
use hashbrown::HashMap;
use std::io::{self, Write};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const BODY: &str = include_str!("page.html");

/// SHA-256 of the two, for the policy of the page: nothing else in it is run, whatever a function is called. A test
/// compares.
const STYLE_HASH: &str = "r3y1oMIxGYq8PcBDP5pGrslJdl4y2FwDaLDmZrf8GpA=";
const SCRIPT_HASH: &str = "c6z42qA6dz3mnk6xJHtMWCr0UyGV0JOtElwQ06W+r6Q=";

/// Frames that a browser draws without waiting, and (thread, stack) pairs that it sums up at once; of lighter ones
/// only the leaf is shown, and the page says how many.
const MAX_NODES: usize = 250_000;
const MAX_ENTRIES: usize = 200_000;

pub(super) fn encode(profiles: &[&Profile], capture: &CaptureMeta, writer: &mut dyn Write) -> io::Result<()> {
    let title = titles::capture(profiles, capture);
    write!(
        writer,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-{SCRIPT_HASH}'; \
         style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n{BODY}<script type=\"application/json\" id=\"data\">\n",
        html(&title)
    )?;
    data(profiles, capture, &title, writer)?;
    write!(writer, "</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")?;
    writer.flush()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Names, files and frames of all profiles under one numbering.
#[derive(Default)]
struct Tables<'a> {
    strings: Vec<&'a str>,
    known_strings: HashMap<&'a str, u32>,
    /// Name, file, first line.
    functions: Vec<(u32, u32, u32)>,
    known_functions: HashMap<(u32, u32, u32), u32>,
    /// Function, line.
    frames: Vec<(u32, u32)>,
    known_frames: HashMap<(u32, u32), u32>,
}

fn position<K: Copy + Eq + std::hash::Hash>(known: &mut HashMap<K, u32>, all: &mut Vec<K>, key: K) -> u32 {
    *known.entry(key).or_insert_with(|| {
        all.push(key);
        all.len() as u32 - 1
    })
}

impl<'a> Tables<'a> {
    fn frame(&mut self, profile: &'a Profile, location: LocationId) -> u32 {
        let location = profile.locations()[location.index()];
        let function = profile.functions()[location.function.index()];
        let [name, file] = [function.name, function.file].map(|id| profile.string(id));
        self.named(name, file, function.start_line, location.line)
    }

    fn named(&mut self, name: &'a str, file: &'a str, start_line: u32, line: u32) -> u32 {
        let [name, file] =
            [name, file].map(|text| position(&mut self.known_strings, &mut self.strings, text));
        let function = position(&mut self.known_functions, &mut self.functions, (name, file, start_line));
        position(&mut self.known_frames, &mut self.frames, (function, line))
    }
}

/// The frame that stands for what was folded away.
const FOLDED: &str = "<folded away>";

fn data(profiles: &[&Profile], capture: &CaptureMeta, title: &str, writer: &mut dyn Write) -> io::Result<()> {
    let Folded { nodes, entries, stacks, weight } = fold(profiles, MAX_NODES, MAX_ENTRIES);
    let measure = profiles.first().map(|profile| profile.measure());
    writer.write_all(br#"{"title":"#)?;
    json::string(writer, title)?;
    writer.write_all(br#","start":"#)?;
    json::string(writer, &utc::rfc3339(capture.start_unix_ns))?;
    write!(writer, ",\"duration_ns\":{},\"folded\":[{stacks},{weight}],\"measure\":", capture.duration_ns)?;
    let names =
        measure.iter().flat_map(|it| [&it.weight.name, &it.weight.unit, &it.count.name, &it.count.unit]);
    json::strings(writer, names)?;
    writer.write_all(b",\"comments\":")?;
    json::strings(writer, titles::comments(profiles, capture))?;

    // Nodes in the order of their numbers: the distance to the caller, and the frame.
    let mut tables = Tables::default();
    writer.write_all(b",\n\"nodes\":")?;
    let pairs = nodes.iter().zip(1u32..).flat_map(|(node, number)| {
        let frame = match node.location {
            Some(location) => tables.frame(profiles[node.profile as usize], location),
            None => tables.named(FOLDED, "", 0, 0),
        };
        [number - node.caller, frame]
    });
    json::numbers(writer, pairs)?;
    writer.write_all(b",\n\"frames\":")?;
    json::numbers(writer, tables.frames.iter().flat_map(|frame| [frame.0, frame.1]))?;
    writer.write_all(b",\n\"functions\":")?;
    json::numbers(writer, tables.functions.iter().flat_map(|it| [it.0, it.1, it.2]))?;
    writer.write_all(b",\n\"strings\":")?;
    json::strings(writer, &tables.strings)?;

    // Processes and threads are numbered through all profiles.
    let mut first = (0, 0);
    let mut firsts = Vec::new();
    for profile in profiles {
        firsts.push(first);
        first = (first.0 + profile.processes().len(), first.1 + profile.threads().len());
    }
    writer.write_all(b",\n\"processes\":")?;
    let processes = profiles.iter().flat_map(|profile| profile.processes());
    json::strings(writer, processes.map(titles::process))?;
    writer.write_all(b",\n\"threads\":")?;
    let threads = profiles.iter().zip(&firsts);
    let threads = threads.flat_map(|(profile, first)| {
        profile.threads().iter().map(move |thread| (*profile, first.0 + thread.process as usize, thread))
    });
    json::list(writer, threads, |writer, (profile, process, thread)| {
        write!(writer, "[{process},")?;
        json::string(writer, &titles::thread(profile, thread))?;
        writer.write_all(b"]")
    })?;
    writer.write_all(b",\n\"samples\":")?;
    let samples = entries.iter().flat_map(|entry| {
        let Entry { profile, thread, node, total } = *entry;
        let thread = firsts[profile as usize].1 as u64 + u64::from(thread);
        [thread, node.into(), total.weight_ns, total.samples]
    });
    json::numbers(writer, samples)?;
    writer.write_all(b"}\n")
}

#[cfg(test)]
mod tests;
