//! `pyprof-bpf top` as a person sees it: on a real terminal, by its keys, beside targets that say what they do themselves.

mod batch;
mod keys;
mod screen;
mod shares;
mod terminal;
mod waits;

use std::path::Path;

use pyprof_tests::{Python, Target, capture, pythons};

/// The static build: one interpreter is as good as another where only the screen is at stake.
fn any_python() -> Python {
    pythons().into_iter().find(|python| python.is_static).expect("a static CPython")
}

const SPIN: &str = "
import threading
def inner():
    for _ in range(2000):
        pass
def spin():
    while True:
        inner()
print('ready', flush=True)
threading.Thread(target=spin, name='second', daemon=True).start()
spin()
";

fn spinner(name: &str) -> Target {
    Target::start(&any_python(), name, SPIN, &[])
}

/// The command line of the view, for a shell.
fn command(args: &str) -> String {
    let binary = capture::binary();
    assert!(is_plain(&binary), "{}: quoting is not what is tested here", binary.display());
    format!("{} top {args}", binary.display())
}

fn is_plain(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte)))
}

/// The words of the first line that has this one.
fn row<'a>(screen: &'a str, word: &str) -> Vec<&'a str> {
    let line = screen.lines().find(|line| line.split_whitespace().any(|one| one == word));
    line.unwrap_or_else(|| panic!("no row of {word}:\n{screen}")).split_whitespace().collect()
}
