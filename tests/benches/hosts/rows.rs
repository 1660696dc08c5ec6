//! The hosts that a run is about: a list that whoever starts the test hands over, else what Debian installs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

/// The variable with the path of the list, as JSON.
const LIST: &str = "PYPROF_HOSTS";

/// Where Debian has them.
const DEBIAN: [(&str, &str); 5] = [
    ("uwsgi", "/usr/bin/uwsgi"),
    ("mod_wsgi", "/usr/sbin/apache2"),
    ("mod_wsgi-daemon", "/usr/sbin/apache2"),
    ("gdb", "/usr/bin/gdb"),
    ("gunicorn", "/usr/bin/gunicorn"),
];

#[derive(Deserialize, Debug, Default)]
pub struct Row {
    pub name: String,
    /// Of the program, for the reader of the table.
    #[serde(default)]
    pub version: String,
    /// What to start, without what this test adds.
    #[serde(default)]
    pub argv: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The file system of a container.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// Why it is not to be had.
    #[serde(default)]
    pub missing: Option<String>,
}

impl Row {
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).envs(&self.env).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

pub fn rows() -> Vec<Row> {
    if let Some(path) = std::env::var_os(LIST) {
        let text = std::fs::read_to_string(path).expect("the list of hosts");
        return serde_json::from_str(&text).expect("the list of hosts is JSON");
    }
    let row = |(name, program): (&str, &str)| Row {
        name: name.to_owned(),
        argv: vec![program.to_owned()],
        ..Row::default()
    };
    DEBIAN.into_iter().map(row).collect()
}
