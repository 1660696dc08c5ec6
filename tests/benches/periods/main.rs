//! Long captures: sets of files per period that add up, processes that have ended, and neither memory nor disk that grows.

mod early;
mod so_far;
mod sums;
mod waits;

use std::path::Path;

use pyprof_tests::running::list;
use serde_json::Value;

/// The `capture.json` of every set in a directory, the oldest first; nothing else is in it.
fn sets(directory: &Path) -> Vec<Value> {
    let read = |name: String| {
        let path = directory.join(name).join("capture.json");
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).expect("JSON")
    };
    list(directory).into_iter().map(read).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}
