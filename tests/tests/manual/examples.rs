//! What the manual pages, the README and the pages in docs/ show as commands is run: as a reader would type it, but for
//! numbers of processes, lengths of time and addresses, which are replaced by what there is here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use pyprof_tests::pythons::python;
use pyprof_tests::target::SPIN;
use pyprof_tests::{Scratch, Target, capture};

use super::{pages, run, text};

/// A line, and where it stands.
struct Line {
    place: String,
    line: String,
}

/// The lines between `.EX` and `.EE`, unescaped.
fn of_page(page: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(page).expect("a page");
    let place = page.file_name().expect("a name").to_string_lossy().into_owned();
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line {
            ".EX" => inside = true,
            ".EE" => inside = false,
            line if inside => {
                let line = line.trim_start_matches("\\&").replace("\\-", "-").replace("\\e", "\\");
                lines.push(Line { place: place.clone(), line });
            }
            _ => {}
        }
    }
    lines
}

/// The lines of a Markdown file that a reader would type: of indented blocks and of fenced ones for `sh` each that begins with
/// one of our programs, of other fenced blocks, which show output too, those behind a prompt.
fn of_markdown(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).expect("a page");
    let place = path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(kind) = line.strip_prefix("```") {
            fence = if fence.is_none() { Some(kind) } else { None };
            continue;
        }
        let typed = match fence {
            Some("sh") => Some(line),
            Some(_) => line.strip_prefix("$ "),
            None => line.strip_prefix("    "),
        };
        let Some(line) = typed else { continue };
        let line = line.split("  #").next().unwrap_or_default().trim_end();
        let is_ours = ["pyprof-bpf", "sudo pyprof-bpf", "go tool pprof"].iter().any(|program| {
            line.strip_prefix(program).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        // A synopsis is none to type.
        if is_ours && !line.contains(" [") {
            lines.push(Line { place: format!("{place}:{}", number + 1), line: line.to_owned() });
        }
    }
    lines
}

/// Has a name, and what follows it where it is one of an option.
fn with_time(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_duration = |at: usize| at > 0 && matches!(words[at - 1], "-d" | "--duration");
    let shortened: Vec<&str> =
        words.iter().enumerate().map(|(at, word)| if is_duration(at) { "1" } else { *word }).collect();
    shortened.join(" ")
}

/// As it can be run here: the process is ours, a second is enough, and nobody opens a browser.
fn runnable(line: &str, pid: u32) -> String {
    let line = line.replace("4711", &pid.to_string()).replace("-http=:", "-top");
    let line = line.replace("pyprof-HOST-UTCTIME/NAME-PID.pb.gz", "before/*.pb.gz");
    let line = with_time(&line).replace("sudo ", "");
    // Without an end of its own it is ended like by Ctrl-C.
    let command = line.split(' ').nth(1).unwrap_or_default();
    let is_endless = line.starts_with("pyprof-bpf")
        && match command {
            "top" => !line.contains("--batch"),
            "" | "record" => !line.contains("-d "),
            other => other.starts_with('-') && !line.contains("-d "),
        };
    if !is_endless {
        return line;
    }
    let ended = format!("timeout --foreground --preserve-status -s INT 2 {line}");
    // It draws on a terminal, which `script` gives it.
    if command == "top" { format!("script -qec '{ended}' /dev/null") } else { ended }
}

#[test]
fn every_example_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let (_pages, pages) = pages();
    let mut lines: Vec<Line> = pages.iter().flat_map(|page| of_page(page)).collect();
    let in_pages = lines.len();
    assert!(in_pages >= pages.len(), "each page has an example");
    lines.extend(of_markdown(&root.join("README.md")));
    let docs = std::fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path());
    // `cargo xtask incident` runs that one, from its beginning to its end.
    let is_ours =
        |path: &PathBuf| path.extension().is_some_and(|kind| kind == "md") && !path.ends_with("incident.md");
    let mut docs: Vec<_> = docs.filter(is_ours).collect();
    docs.sort();
    lines.extend(docs.iter().flat_map(|path| of_markdown(path)));
    assert!(lines.len() > in_pages, "the README shows commands");

    let target = Target::start(&python(12), "checkout.py", SPIN, &[]);
    // What a reader has when opening a profile: one of before.
    let scratch = Scratch::new("examples");
    // A program is typed by its name.
    let programs = scratch.path().join("bin");
    std::fs::create_dir(&programs).expect("our own");
    std::os::unix::fs::symlink(capture::binary(), programs.join("pyprof-bpf")).expect("our own");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut examples: Vec<(&Line, String)> = Vec::new();
    for line in &lines {
        let command = runnable(&line.line, target.pid());
        if examples.iter().all(|(_, other)| *other != command) {
            examples.push((line, command));
        }
    }
    // They mostly wait for their second to pass.
    let left = Mutex::new(examples.into_iter().enumerate());
    let next = || left.lock().expect("nobody panics with it").next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, (line, command))) = next() {
                    let directory = scratch.path().join(number.to_string());
                    try_example(line, &command, &directory, &path, target.pid());
                }
            });
        }
    });
}

const AT_ONCE: usize = 3;

fn try_example(Line { place, line }: &Line, command: &str, directory: &Path, path: &str, pid: u32) {
    std::fs::create_dir(directory).expect("our own");
    if line.contains("HOST-UTCTIME") {
        let ran = run(Command::new(capture::binary())
            .args(["-q", "-d", "1", "-o", "before", "-p", &pid.to_string()])
            .current_dir(directory));
        assert!(ran.status.success(), "{}", text(ran.stderr));
    }
    let ran = run(Command::new("bash")
        .args(["-c", command])
        .current_dir(directory)
        .env("PATH", path)
        .env("TERM", "xterm"));
    println!("{place}: {command}: {:?}", ran.status.code());
    assert!(ran.status.success(), "{place}: {line}\nas {command}\n{}", text(ran.stderr));
}

#[test]
fn lines_are_found_and_made_fit() {
    let rows = [
        ("sudo pyprof-bpf -d 10", "pyprof-bpf -d 1"),
        (
            "pyprof-bpf record -p 4711",
            "timeout --foreground --preserve-status -s INT 2 pyprof-bpf record -p 7",
        ),
        ("sudo pyprof-bpf", "timeout --foreground --preserve-status -s INT 2 pyprof-bpf"),
        ("pyprof-bpf doctor --json", "pyprof-bpf doctor --json"),
        ("go tool pprof -http=: x", "go tool pprof -top x"),
    ];
    for (line, expected) in rows {
        assert_eq!(runnable(line, 7), expected);
    }
}
