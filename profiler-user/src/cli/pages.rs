//! Manual pages: what clap knows of a command, and what it does not: examples, files, and what to read next.

use std::fmt::Write;

use clap::Command;
use clap_mangen::Man;

use crate::exit::Exit;

/// Of the last change that a reader would notice, as `man-pages(7)` asks for.
const DATE: &str = "2026-11-21";
const MANUAL: &str = "pyprof-bpf manual";

pub(super) struct Example {
    what: &'static str,
    /// A line for a shell. 4711 stands for a process of yours; all else can be typed as it is.
    line: &'static str,
}

const fn example(what: &'static str, line: &'static str) -> Example {
    Example { what, line }
}

/// By command; that of the program itself has the program's name. A test runs every line.
pub(super) const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "pyprof-bpf",
        &[
            example("Sample every Python of the host for ten seconds:", "sudo pyprof-bpf -d 10"),
            example("One process, a thousand times a second:", "sudo pyprof-bpf -d 10 -p 4711 -F 999"),
            example("Whether that will work on this host:", "sudo pyprof-bpf doctor"),
        ],
    ),
    (
        "doctor",
        &[
            example("What would keep a capture from beginning here:", "sudo pyprof-bpf doctor"),
            example("The same without any privilege, as far as it goes:", "pyprof-bpf doctor"),
            example(
                "For a script; the exit status is 8 where there is a problem:",
                "sudo pyprof-bpf doctor --json",
            ),
        ],
    ),
    (
        "record",
        &[
            example(
                "A flame graph of the host, in one file for a browser:",
                "sudo pyprof-bpf record -d 10 -o slow.html",
            ),
            example("Until Ctrl-C, every Python of the host:", "sudo pyprof-bpf record"),
            example(
                "Ten seconds of one process, into a directory of a known name, and its hottest functions:",
                "sudo pyprof-bpf record -d 10 -p 4711 -o checkout && go tool pprof -top checkout/*-4711.pb.gz",
            ),
            example(
                "The workers of each service as one profile:",
                "sudo pyprof-bpf record -d 10 --merge-by service",
            ),
        ],
    ),
    (
        "report",
        &[
            example(
                "The hottest lines of a capture:",
                "sudo pyprof-bpf -d 10 -o capture && pyprof-bpf report --lines capture",
            ),
            example(
                "Who calls the functions of checkout.py, and what they call:",
                "sudo pyprof-bpf -d 10 -o capture && pyprof-bpf report --callers checkout.py --callees checkout.py capture",
            ),
            example(
                "What has changed between two captures:",
                "sudo pyprof-bpf -d 10 -o before && sudo pyprof-bpf -d 10 -o after && pyprof-bpf report --diff before after",
            ),
        ],
    ),
    (
        "dump",
        &[
            example("Where each thread of a process is now, idle ones too:", "sudo pyprof-bpf dump -p 4711"),
            example("Of every Python, for a script:", "sudo pyprof-bpf dump --all --json"),
        ],
    ),
    (
        "top",
        &[
            example("What runs now, on a terminal; q ends it, h helps:", "sudo pyprof-bpf top"),
            example("Three tables of one process, for a log:", "sudo pyprof-bpf top -p 4711 --batch -n 3"),
        ],
    ),
];

const FILES: &[(&str, &str)] = &[
    ("./pyprof-HOST-UTCTIME/NAME-PID.pb.gz", "A profile of one process, in the format of pprof, compressed."),
    (
        "./pyprof-HOST-UTCTIME/capture.json",
        "The account of a capture for programs: its processes, what was lost, what was not profiled and why, what it cost.",
    ),
    ("/sys/kernel/btf/vmlinux", "The types of the running kernel."),
];

const ELSEWHERE: &[&str] = &["bpf(2)", "perf_event_open(2)", "capabilities(7)"];

/// Every page and the name of its file.
pub(super) fn all(command: Command) -> Vec<(String, String)> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let names: Vec<String> = std::iter::once("pyprof-bpf".to_owned())
        .chain(visible(&command).map(|command| format!("pyprof-bpf-{}", command.get_name())))
        .collect();
    let subcommands = visible(&command).map(|command| (command.get_name().to_owned(), command.clone()));
    let whole = ("pyprof-bpf".to_owned(), command.clone());
    std::iter::once(whole)
        .chain(subcommands)
        .zip(&names)
        .map(|((key, command), name)| (format!("{name}.1"), page(&key, command, name, &names)))
        .collect()
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

/// Other spellings of an option are part of what there is to know of it.
fn with_aliases(command: Command) -> Command {
    command.mut_args(|arg| {
        let short = arg.get_visible_short_aliases().unwrap_or_default().into_iter().map(|c| format!("-{c}"));
        let long = arg.get_visible_aliases().unwrap_or_default().into_iter().map(|name| format!("--{name}"));
        let aliases: Vec<String> = short.chain(long).collect();
        if aliases.is_empty() {
            return arg;
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.help(format!("{help}. Also: {}", aliases.join(", ")))
    })
}

fn page(key: &str, command: Command, name: &str, names: &[String]) -> String {
    let source = format!("pyprof-bpf {}", env!("CARGO_PKG_VERSION"));
    let man =
        Man::new(with_aliases(command)).title(name.to_uppercase()).date(DATE).source(source).manual(MANUAL);
    let mut bytes = Vec::new();
    // Writing to memory cannot fail.
    let _ = man
        .render_title(&mut bytes)
        .and_then(|()| man.render_name_section(&mut bytes))
        .and_then(|()| man.render_synopsis_section(&mut bytes))
        .and_then(|()| man.render_description_section(&mut bytes))
        .and_then(|()| man.render_options_section(&mut bytes));
    let mut page = String::from_utf8_lossy(&bytes).into_owned();
    if key == "pyprof-bpf" {
        let mut bytes = Vec::new();
        let _ = man.render_subcommands_section(&mut bytes);
        page.push_str(&String::from_utf8_lossy(&bytes).replace("SUBCOMMANDS", "COMMANDS"));
    }
    // Before the values that an option may have the generator breaks the line twice, which mandoc takes for a mistake.
    page = page.replace("\n.br\n\n.br\n", "\n.sp\n");
    exit_status(&mut page);
    examples(&mut page, key);
    files(&mut page);
    see_also(&mut page, name, names);
    page
}

/// Text as roff takes it for text: `\` begins an escape, `.` and `'` at the beginning of a line a request, and `-` would
/// become a hyphen that no shell knows.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.chars().next() {
        Some('.' | '\'') => format!("\\&{text}"),
        _ => text,
    }
}

// Writing to a string cannot fail, here and below.
fn exit_status(page: &mut String) {
    page.push_str(".SH \"EXIT STATUS\"\n");
    for exit in Exit::ALL {
        let _ = write!(page, ".TP\n{}\n{}.\n", exit.code(), roff(exit.meaning()));
    }
}

fn examples(page: &mut String, key: &str) {
    let Some((_, examples)) = EXAMPLES.iter().find(|(name, _)| *name == key) else { return };
    page.push_str(".SH EXAMPLES\n");
    for (number, Example { what, line }) in examples.iter().enumerate() {
        let break_before = if number == 0 { "" } else { ".PP\n" };
        let _ = write!(page, "{break_before}{}\n.PP\n.RS 4\n.EX\n{}\n.EE\n.RE\n", roff(what), roff(line));
    }
}

fn files(page: &mut String) {
    page.push_str(".SH FILES\n");
    for (path, what) in FILES {
        let _ = write!(page, ".TP\n.I {}\n{}\n", roff(path), roff(what));
    }
}

fn see_also(page: &mut String, name: &str, names: &[String]) {
    let others = names.iter().filter(|other| *other != name).map(|other| format!("{other}(1)"));
    let all: Vec<String> = others.chain(ELSEWHERE.iter().map(|it| (*it).to_owned())).collect();
    page.push_str(".SH \"SEE ALSO\"\n");
    for (number, one) in all.iter().enumerate() {
        let comma = if number + 1 < all.len() { "," } else { "" };
        let (title, section) = one.split_once('(').unwrap_or((one, "1)"));
        let _ = writeln!(page, ".BR {} ({section}{comma}", roff(title));
    }
    let _ = write!(
        page,
        ".PP\nThe profiles are read with `go tool pprof` and everything else that reads pprof.\n"
    );
}
