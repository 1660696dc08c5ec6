//! What is generated from the command line, judged by others: manual pages by groff and mandoc, completions by the shells
//! themselves; and what the pages show as examples is run.

mod completions;
mod examples;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use pyprof_tests::{Scratch, capture};

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// All pages, written into a directory that did not exist.
fn pages() -> (Scratch, Vec<PathBuf>) {
    let scratch = Scratch::new("man");
    let directory = scratch.path().join("man1");
    let ran = run(Command::new(capture::binary()).args(["generate", "man"]).arg(&directory));
    assert!(ran.status.success() && ran.stdout.is_empty(), "{}", text(ran.stderr));
    let entries = std::fs::read_dir(&directory).expect("it was made");
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    pages.sort();
    (scratch, pages)
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = text(run(Command::new(capture::binary()).arg("--help")).stdout);
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<String> =
        names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(names.iter().any(|name| name == "record"), "{help}");
    names.into_iter().filter(|name| name != "help").collect()
}

#[test]
fn every_command_has_a_page_and_two_readers_find_no_fault() {
    let (_scratch, pages) = pages();
    let names: Vec<String> =
        pages.iter().map(|page| page.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    let mut expected: Vec<String> = commands().iter().map(|name| format!("pyprof-bpf-{name}.1")).collect();
    expected.push("pyprof-bpf.1".into());
    expected.sort();
    assert_eq!(names, expected);
    for page in &pages {
        let lint = run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(page));
        assert!(lint.status.success() && lint.stdout.is_empty(), "{}", text(lint.stdout));
        let groff = run(Command::new("groff").args(["-man", "-Tutf8", "-Kutf8", "-ww"]).arg(page));
        assert!(
            groff.status.success() && groff.stderr.is_empty(),
            "{}: {}",
            page.display(),
            text(groff.stderr)
        );
        assert!(!groff.stdout.is_empty(), "{}", page.display());
    }
}

/// What `--help` says of options, the page says too, as a reader of it prints it.
#[test]
fn a_page_has_every_option_that_help_has() {
    let (_scratch, pages) = pages();
    for (command, page) in commands().iter().filter_map(|command| {
        let name = format!("pyprof-bpf-{command}.1");
        Some((command, pages.iter().find(|page| page.ends_with(&name))?))
    }) {
        let help = text(run(Command::new(capture::binary()).args([command, "--help"])).stdout);
        let printed =
            text(run(Command::new("mandoc").args(["-T", "utf8", "-O", "width=200"]).arg(page)).stdout);
        // Bold is a letter printed over itself.
        let plain: String = {
            let mut plain = String::new();
            for c in printed.chars() {
                match c {
                    '\u{8}' => drop(plain.pop()),
                    c => plain.push(c),
                }
            }
            plain
        };
        let long = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        let words =
            long.flat_map(|line| line.split([' ', ',', '=']).take(3)).filter(|word| word.starts_with("--"));
        let mut seen = 0;
        for option in words {
            assert!(plain.contains(option), "{command}: {option} is not in its page\n{plain}");
            seen += 1;
        }
        assert!(seen > 1, "{command}: no options in\n{help}");
        assert!(
            plain.contains("EXIT STATUS") && plain.contains("EXAMPLES") && plain.contains("SEE ALSO"),
            "{plain}"
        );
    }
}

#[test]
fn a_page_that_cannot_be_written_is_named() {
    let ran = run(Command::new(capture::binary()).args(["generate", "man", "/proc/nowhere"]));
    let stderr = text(ran.stderr);
    assert!(ran.status.code() == Some(1) && stderr.contains("/proc/nowhere"), "{stderr}");
}
