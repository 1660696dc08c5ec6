//! The formats: their names, the endings of their files, and one way to write any of them.

use super::{collapsed, firefox, flamegraph, pprof, speedscope};
use crate::profile::{CaptureMeta, Measure, Profile, merge};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use std::path::Path;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Format {
    Pprof,
    Flamegraph,
    Collapsed,
    Speedscope,
    Firefox,
}

use Format::{Collapsed, Firefox, Flamegraph, Pprof, Speedscope};

impl Format {
    pub const ALL: [Format; 5] = [Pprof, Flamegraph, Collapsed, Speedscope, Firefox];

    pub const fn name(self) -> &'static str {
        match self {
            Pprof => "pprof",
            Flamegraph => "flamegraph",
            Collapsed => "collapsed",
            Speedscope => "speedscope",
            Firefox => "firefox",
        }
    }

    /// What a file of this format is called by; the first is what files in a directory get.
    pub const fn endings(self) -> &'static [&'static str] {
        match self {
            Pprof => &[".pb.gz", ".pprof"],
            Flamegraph => &[".html", ".htm"],
            Collapsed => &[".collapsed.txt", ".collapsed", ".folded", ".txt"],
            Speedscope => &[".speedscope.json", ".speedscope"],
            Firefox => &[".firefox.json.gz", ".firefox.json"],
        }
    }

    /// That of a file of this format, as it is written there; empty where it has none.
    pub fn ending_of(self, path: &Path) -> &str {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        let mut endings = self.endings().iter().chain(self.vague_endings());
        let bytes = endings.find(|ending| lower.ends_with(**ending)).map_or(0, |ending| ending.len());
        name.get(name.len() - bytes..).unwrap_or_default()
    }

    /// Endings that say too little by themselves, and will do where the format was named.
    pub const fn vague_endings(self) -> &'static [&'static str] {
        match self {
            Pprof => &[".gz", ".prof"],
            Flamegraph | Collapsed => &[],
            Speedscope => &[".json"],
            Firefox => &[".json", ".json.gz"],
        }
    }

    pub const fn ending(self) -> &'static str {
        self.endings()[0]
    }

    pub fn of_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format that a file's name says.
    pub fn of_file(name: &str) -> Option<Format> {
        let name = name.to_ascii_lowercase();
        let has = |ending: &&str| name.ends_with(*ending) && name.len() > ending.len();
        Format::ALL.into_iter().find(|format| format.endings().iter().any(has))
    }

    /// Whether a file may be called this once the format was named.
    pub fn allows(self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.vague_endings().iter().any(|ending| name.ends_with(ending))
    }
}

/// How a format is to be written, where it leaves a choice.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Choices {
    /// pprof: every sample by itself, with its time. speedscope: in the order of their times.
    pub timeline: bool,
    /// firefox: as gzip. pprof always is; the others are text.
    pub gzip: bool,
}

/// All of `profiles` as one file.
pub fn encode(
    format: Format,
    profiles: &[&Profile],
    capture: &CaptureMeta,
    choices: Choices,
    mut writer: impl Write,
) -> io::Result<()> {
    // Only pprof has labels, for the system call and the GIL.
    let is_of_waits = profiles.iter().all(|profile| *profile.measure() == Measure::OFF_CPU);
    let waits: Vec<Profile> = match format {
        Pprof => Vec::new(),
        _ if !is_of_waits => Vec::new(),
        _ => profiles.iter().map(|profile| profile.with_waits()).collect(),
    };
    let with_waits: Vec<&Profile> = waits.iter().collect();
    let profiles = if waits.is_empty() { profiles } else { &with_waits };
    match format {
        Pprof => match profiles {
            [one] => pprof::encode(one, capture, choices.timeline, writer),
            many => match merge(many) {
                Some(merged) => pprof::encode(&merged, capture, choices.timeline, writer),
                None => Ok(()),
            },
        },
        Flamegraph => flamegraph::encode(profiles, capture, &mut writer),
        Collapsed => collapsed::encode(profiles, &mut writer),
        Speedscope => speedscope::encode(profiles, capture, choices.timeline, &mut writer),
        Firefox if choices.gzip => {
            let mut gzip = GzEncoder::new(writer, Compression::default());
            firefox::encode(profiles, capture, &mut gzip)?;
            gzip.finish()?.flush()
        }
        Firefox => firefox::encode(profiles, capture, &mut writer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_at_most_one_format() {
        let rows = [
            ("x.pb.gz", Some(Pprof)),
            ("X.PB.GZ", Some(Pprof)),
            ("x.html", Some(Flamegraph)),
            ("x.collapsed", Some(Collapsed)),
            ("x.collapsed.txt", Some(Collapsed)),
            ("x.speedscope.json", Some(Speedscope)),
            ("x.firefox.json", Some(Firefox)),
            ("x.firefox.json.gz", Some(Firefox)),
            ("x.json", None),
            ("x.gz", None),
            (".html", None),
            ("html", None),
            ("x.html.d", None),
            ("", None),
        ];
        for (name, expected) in rows {
            assert_eq!(Format::of_file(name), expected, "{name}");
        }
        for format in Format::ALL {
            assert_eq!(Format::of_name(format.name()), Some(format));
            for ending in format.endings() {
                assert_eq!(Format::of_file(&format!("x{ending}")), Some(format));
            }
            for ending in format.vague_endings() {
                assert_eq!(Format::of_file(&format!("x{ending}")), None, "{ending} is not vague");
            }
        }
    }
}
