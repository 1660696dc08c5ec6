//! The readers of the formats that are not pprof: scripts in `tests/readers`, run by node, each around a program that is
//! not ours. `cargo xtask test` fetches them; without it, the cache of an earlier run is used.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A function in a reader: its own time and its total, in nanoseconds.
pub type Times = std::collections::BTreeMap<String, (f64, f64)>;

/// Runs `tests/readers/SCRIPT FILE MORE...`; what it prints.
pub fn read(script: &str, file: &Path, more: &[&str], environment: &[(&str, &str)]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers").join(script);
    let mut node = Command::new("node");
    node.arg(&script).arg(file).args(more).env("NODE_PATH", modules()).envs(environment.iter().copied());
    let output = node.output().expect("node is needed: cargo xtask test fetches it");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {}: {stderr}", script.display(), file.display());
    serde_json::from_slice(&output.stdout).expect("one JSON value")
}

fn modules() -> PathBuf {
    if let Some(path) = std::env::var_os("PYPROF_NODE_MODULES") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache");
    cache.unwrap_or_else(home).join("pyprof-bpf/readers/node_modules")
}

/// The Firefox Profiler's functions by the name of their thread.
pub fn firefox(file: &Path) -> (Value, Vec<(String, Times)>) {
    let said = read("firefox.js", file, &[], &[]);
    let of_thread = |thread: &Value| {
        assert_eq!(thread["weightType"], "tracing-ms");
        let mut times = Times::new();
        for function in thread["functions"].as_array().expect("functions") {
            let [own, total] = [1, 2].map(|at: usize| function[at].as_f64().expect("a time") * 1e6);
            let sum = times.entry(function[0].as_str().expect("a name").into()).or_default();
            *sum = (sum.0 + own, sum.1 + total);
        }
        let text = |key: &str| thread[key].as_str().expect("a name").to_owned();
        (format!("{} {}", text("processName"), text("name")), times)
    };
    let threads = said["threads"].as_array().expect("threads").iter().map(of_thread).collect();
    (said, threads)
}

/// speedscope's frames by the name of their profile; frames of one name are one function, and rounded as shown.
pub fn speedscope(file: &Path) -> (Value, Vec<(String, Times)>) {
    let said = read("speedscope.js", file, &[], &[]);
    let of_profile = |profile: &Value| {
        let mut times = Times::new();
        for row in profile["rows"].as_array().expect("rows") {
            let [total, own] = [0, 1].map(|at: usize| shown_ns(row[at].as_str().expect("a time")));
            let sum = times.entry(row[2].as_str().expect("a name").into()).or_default();
            *sum = (sum.0 + own, sum.1 + total);
        }
        // `NAME (2/3)`
        let name = profile["name"].as_str().expect("a name");
        let name = name.rsplit_once(" (").map_or(name, |(name, _)| name);
        (name.to_owned(), times)
    };
    let profiles = said["profiles"].as_array().expect("profiles").iter().map(of_profile).collect();
    (said, profiles)
}

/// `95.48ms (54%)`
fn shown_ns(text: &str) -> f64 {
    let number = text.split_whitespace().next().expect("a number");
    let unit = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ',');
    let value: f64 = number[..number.len() - unit.len()].replace(',', "").parse().expect("a number");
    let scale = match unit {
        // Collapsed stacks have no unit.
        "ns" | "" => 1.0,
        "\u{b5}s" | "\u{3bc}s" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "min" => 60e9,
        _ => panic!("what unit is {text}?"),
    };
    value * scale
}

/// The rows of a table of the flame graph's page.
pub fn rows(table: &Value) -> Times {
    let mut times = Times::new();
    for row in table.as_array().expect("a table") {
        let [own, total] = [0, 1].map(|at: usize| row[at].as_f64().expect("a time"));
        let sum = times.entry(row[2].as_str().expect("a name").into()).or_default();
        *sum = (sum.0 + own, sum.1 + total);
    }
    times
}
