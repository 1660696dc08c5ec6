//! What a report needs of `capture.json`. The file may come from anywhere: what is not needed is not kept, and nothing in it
//! is a path.

use super::SCHEMA;
use crate::profile::{Loss, Unsupported, UnsupportedProcess};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A process takes about a kilobyte, and a capture follows 16,384 of them at once.
pub const MAX_BYTES: usize = 64 << 20;

#[derive(Clone, Debug, Deserialize)]
struct File {
    schema: u32,
    #[serde(default)]
    host: String,
    #[serde(default)]
    losses: BTreeMap<String, u64>,
    processes: Vec<ReadProcess>,
    #[serde(default)]
    unsupported: Vec<Refused>,
    #[serde(default)]
    unsupported_more: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ReadProcess {
    pub pid: u32,
    pub name: String,
    pub python_version: String,
    /// `None`: it was not written, or there was nothing to write.
    pub file: Option<String>,
    #[serde(default)]
    pub samples: u64,
    /// Of captures that followed threads off their CPUs.
    #[serde(default)]
    pub off_cpu: Option<ReadOffCpu>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ReadOffCpu {
    pub file: Option<String>,
}

impl ReadProcess {
    /// The files that its samples are in.
    pub fn files(&self) -> impl Iterator<Item = &String> {
        self.file.iter().chain(self.off_cpu.iter().filter_map(|off_cpu| off_cpu.file.as_ref()))
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Refused {
    pid: u32,
    name: String,
    reason: String,
}

/// An account as it was read.
#[derive(Clone, Debug, Default)]
pub struct ReadCapture {
    pub host: String,
    pub losses: Vec<Loss>,
    pub processes: Vec<ReadProcess>,
    pub unsupported: Unsupported,
}

impl ReadCapture {
    pub fn parse(bytes: &[u8]) -> Result<ReadCapture, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let File { schema, host, losses, processes, unsupported, unsupported_more } = file;
        if schema != SCHEMA {
            return Err(format!("its schema is {schema}, not {SCHEMA}"));
        }
        let refused = |Refused { pid, name, reason }| UnsupportedProcess { pid, name, reason };
        Ok(ReadCapture {
            host,
            losses: losses.into_iter().map(|(name, count)| Loss { name, count }).collect(),
            processes,
            unsupported: Unsupported {
                listed: unsupported.into_iter().map(refused).collect(),
                more: unsupported_more,
            },
        })
    }
}
