//! The interpreters that a run is about: a list that whoever starts the test hands over, else what the machine has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use pyprof_tests::pythons;
use serde::Deserialize;

/// The variable with the path of the list, as JSON.
const LIST: &str = "PYPROF_MATRIX";

#[derive(Deserialize, Debug, Default)]
pub struct Row {
    pub name: String,
    /// What to start, without the script.
    #[serde(default)]
    pub argv: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where the interpreter's `/` is, if not ours.
    #[serde(default)]
    pub root: Option<PathBuf>,
    #[serde(default)]
    pub kind: Kind,
    /// Why it is not to be had.
    #[serde(default)]
    pub missing: Option<String>,
}

#[derive(Deserialize, Debug, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    #[default]
    Release,
    Debug,
    FreeThreaded,
    Jit,
    /// Linked into another program, without all of the modules.
    Embedded,
    /// Built with what the machine had, so that modules may be missing.
    Bare,
    /// CPython of which nothing is left to find it by.
    Nameless,
    /// No CPython at all.
    Pypy,
}

impl Row {
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).envs(&self.env).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Whether the product unwinds it, rather than saying what it is.
    pub fn is_unwound(&self) -> bool {
        !matches!(self.kind, Kind::Nameless | Kind::Pypy)
    }
}

pub fn rows() -> Vec<Row> {
    if let Some(path) = std::env::var_os(LIST) {
        let text = std::fs::read_to_string(path).expect("the list of interpreters");
        return serde_json::from_str(&text).expect("the list of interpreters is JSON");
    }
    let row = |python: pythons::Python| Row {
        name: python.to_string(),
        argv: vec![python.path.to_str().expect("a plain path").to_owned()],
        ..Row::default()
    };
    pythons().into_iter().map(row).collect()
}
