//! Rows of arguments: those that mean something, and those that must end in a usage error and nothing worse.

use super::*;
use crate::capture::CaptureOptions;
use crate::colour::Colour;
use crate::encode::Format;
use crate::profile::MergeBy;
use crate::select::User;
use crate::talk::{Talk, Verbosity};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

fn parse_bytes(args: &[&[u8]]) -> Result<Command, Stop> {
    let args = [b"pyprof-bpf".as_slice()].into_iter().chain(args.iter().copied());
    parse(args.map(|arg| OsString::from_vec(arg.to_vec())))
}

fn parse_text(args: &str) -> Result<Command, Stop> {
    parse_bytes(&args.split_whitespace().map(str::as_bytes).collect::<Vec<_>>())
}

const QUIET: Talk = Talk { verbosity: Verbosity::Quiet, colour: Colour::Auto };

fn default() -> RecordOptions {
    RecordOptions {
        capture: CaptureOptions {
            off_cpu: false,
            bounded: false,
            max_processes: 16_384,
            frequency_hz: 99,
            pids: vec![],
            selection: Default::default(),
            max_cpu_percent: 5.0,
            max_memory_bytes: 256 << 20,
            btf: None,
            verbose: false,
            keep_times: false,
        },
        duration: None,
        merge_by: None,
        formats: vec![Format::Pprof],
        timeline: false,
        output: Output::Directory(None),
        talk: Talk::default(),
        every: None,
        has_periods: false,
        max_size_bytes: None,
        command: vec![],
    }
}

fn with(change: impl FnOnce(&mut CaptureOptions)) -> RecordOptions {
    let mut options = default();
    change(&mut options.capture);
    options
}

#[test]
fn what_is_typed_becomes_what_is_needed_with_and_without_the_command() {
    let directory = |path: &str| Output::Directory(Some(path.into()));
    let ten = Some(Duration::from_secs(10));
    let rows = [
        ("", default()),
        ("-d 10", RecordOptions { duration: ten, ..default() }),
        ("-d10", RecordOptions { duration: ten, ..default() }),
        ("--duration=10s", RecordOptions { duration: ten, ..default() }),
        ("-d 0.3", RecordOptions { duration: Some(Duration::from_millis(300)), ..default() }),
        ("-F 1000", with(|it| it.frequency_hz = 1000)),
        ("-r 10000", with(|it| it.frequency_hz = 10_000)),
        ("--rate 1", with(|it| it.frequency_hz = 1)),
        ("--frequency 49", with(|it| it.frequency_hz = 49)),
        ("-p 7 --pid 3 -p 7", with(|it| it.pids = vec![3, 7])),
        ("-p 4194304", with(|it| it.pids = vec![4_194_304])),
        ("-o /nowhere/x", RecordOptions { output: directory("/nowhere/x"), ..default() }),
        ("-f pprof", default()),
        (
            "-f pprof,flamegraph --format collapsed -o /nowhere/x",
            RecordOptions {
                formats: vec![Format::Pprof, Format::Flamegraph, Format::Collapsed],
                output: directory("/nowhere/x"),
                ..default()
            },
        ),
        (
            "-o /nowhere/x.html",
            RecordOptions {
                formats: vec![Format::Flamegraph],
                output: Output::File("/nowhere/x.html".into()),
                ..default()
            },
        ),
        (
            "-f collapsed -o -",
            RecordOptions { formats: vec![Format::Collapsed], output: Output::Stdout, ..default() },
        ),
        ("-f firefox", RecordOptions { formats: vec![Format::Firefox], ..with(|it| it.keep_times = true) }),
        ("--timeline", RecordOptions { timeline: true, ..with(|it| it.keep_times = true) }),
        (
            "--max-cpu 0.5 --max-memory 64",
            with(|it| (it.max_cpu_percent, it.max_memory_bytes) = (0.5, 64 << 20)),
        ),
        ("--merge-by name", RecordOptions { merge_by: Some(MergeBy::Name), ..default() }),
        ("--merge-by=service", RecordOptions { merge_by: Some(MergeBy::Service), ..default() }),
        ("--merge-by container", RecordOptions { merge_by: Some(MergeBy::Container), ..default() }),
        ("-q", RecordOptions { talk: QUIET, ..default() }),
        (
            "--every 60 --max-size 500",
            RecordOptions {
                every: Some(Duration::from_secs(60)),
                has_periods: true,
                max_size_bytes: Some(500 << 20),
                ..default()
            },
        ),
        (
            "-q -- prog -d 10 --name x",
            RecordOptions {
                talk: QUIET,
                command: ["prog", "-d", "10", "--name", "x"].map(OsString::from).to_vec(),
                ..default()
            },
        ),
        ("--tree 9 --tree 8", with(|it| it.selection.trees = vec![8, 9])),
        ("--python 3.11 --uid 0", {
            with(|it| {
                it.selection.only.pythons = vec!["3.11".into()];
                it.selection.only.users = vec![User { typed: "0".into(), uid: 0 }];
            })
        }),
        (
            "--cgroup system.slice/ --exclude-unit web --exclude-cgroup /a/b",
            with(|it| {
                it.selection.only.cgroups = vec!["/system.slice".into()];
                it.selection.exclude.units = vec!["web".into()];
                it.selection.exclude.cgroups = vec!["/a/b".into()];
            }),
        ),
        (
            "-v --color always",
            RecordOptions {
                talk: Talk { verbosity: Verbosity::Verbose, colour: Colour::Always },
                ..with(|it| it.verbose = true)
            },
        ),
    ];
    for (args, expected) in rows {
        assert_eq!(parse_text(args), Ok(Command::Record(expected.clone())), "{args}");
        assert_eq!(parse_text(&format!("record {args}")), Ok(Command::Record(expected)), "record {args}");
    }
}

#[test]
fn nasty_arguments_are_usage_errors() {
    let long = vec![b'9'; 100_000];
    let rows: &[&[&[u8]]] = &[
        &[b"-d"],
        &[b"-d", b""],
        &[b"-d", b"-1"],
        &[b"-d", b"NaN"],
        &[b"-d", b"inf"],
        &[b"-d", b"1e999"],
        &[b"-d", b"\xff"],
        &[b"-d", b"1\xff"],
        &[b"-d", "1\u{b5}s".as_bytes()],
        &[b"-d", &long],
        &[b"-d", b"1", b"-d", b"2"],
        &[b"-F", b"0"],
        &[b"-F", b"-1"],
        &[b"-F", b"10001"],
        &[b"-F", b"99.5"],
        &[b"-F", &long],
        &[b"-F", b"99", b"-r", b"99"],
        &[b"-p", b"0"],
        &[b"-p", b"-1"],
        &[b"-p", b"4194305"],
        &[b"-p", b"4294967297"],
        &[b"-p", b"self"],
        &[b"-p"],
        &[b"--merge-by"],
        &[b"--merge-by", b""],
        &[b"--merge-by", b"pid"],
        &[b"--merge-by", b"name,service"],
        &[b"--merge-by", b"name", b"--merge-by", b"name"],
        &[b"-o"],
        &[b"-o", b""],
        &[b"-f"],
        &[b"-f", b""],
        &[b"-f", b"svg"],
        &[b"-f", b"pprof,"],
        &[b"-f", b"pprof,flamegraph", b"-o", b"-"],
        &[b"-f", b"pprof", b"-o", b"x.html"],
        &[b"-f", b"collapsed", b"--timeline"],
        &[b"-o", b"x.html", b"--merge-by", b"name"],
        &[b"-o", b"x.svg"],
        &[b"-o", b"/dev/null"],
        &[b"-o", b"/etc/passwd"],
        &[b"--max-cpu", b"0"],
        &[b"--max-cpu", b"nan"],
        &[b"--max-cpu", b"-5"],
        &[b"--max-memory", b"0"],
        &[b"--max-memory", b"18446744073709551615"],
        &[b"--max-memory", b"1.5"],
        &[b"-q", b"-v"],
        &[b"\xff\xfe"],
        &[b"--\xff"],
        &[b"-\xff"],
        &[b"--nosuch"],
        &[b"recrd"],
        &[b"record", b"record"],
        &[b"record", b"extra"],
        &[b"-d", b"5", b"record"],
        &[b"--every", b"0.5"],
        &[b"--max-size", b"1", b"-o", b"x.html"],
        &[b"--every", b"1", b"--max-size", b"0"],
        &[b"--name", b"("],
        &[b"--uid", b"no such user"],
        &[b"--python", b"x"],
        &[b"--python", b"3.x"],
        &[b"--cgroup", b""],
        &[b""],
        &[b"\x1b[31m"],
        &[&long],
    ];
    for args in rows {
        let stop = parse_bytes(args).expect_err("a usage error");
        assert!(
            stop.exit == Exit::Usage && stop.to_stderr && stop.message.ends_with('\n'),
            "{args:?}: {stop:?}"
        );
    }
    assert_eq!(parse([]), parse_text(""), "not even the program's name");
}

#[test]
fn help_lists_options_and_exit_codes_and_version_is_a_version() {
    for args in ["--help", "-h", "record --help", "help", "help record"] {
        let stop = parse_text(args).unwrap_err();
        assert_eq!((stop.exit, stop.to_stderr), (Exit::Ok, false), "{args}");
        for exit in Exit::ALL {
            assert!(stop.message.contains(exit.meaning()), "{args}: {exit:?}");
        }
        for option in [
            "--duration",
            "--frequency",
            "--rate",
            "--pid",
            "--merge-by",
            "--output",
            "--format",
            "--timeline",
            "--max-cpu",
            "--max-memory",
        ] {
            assert!(stop.message.contains(option), "{args}: {option}\n{}", stop.message);
        }
    }
    for args in ["-V", "--version"] {
        let stop = parse_text(args).unwrap_err();
        let expected = format!("pyprof-bpf {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!((stop.exit, stop.message), (Exit::Ok, expected));
    }
}

#[test]
fn binary_output_never_goes_to_a_terminal() {
    // A pseudo-terminal of our own: tests run without a controlling one.
    // SAFETY: no preconditions; the results are checked, and ptsname_r gets its buffer's true size.
    let path = unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
        let mut name = [0 as libc::c_char; 64];
        if master < 0
            || libc::grantpt(master) != 0
            || libc::unlockpt(master) != 0
            || libc::ptsname_r(master, name.as_mut_ptr(), name.len()) != 0
        {
            panic!("failed to open a pseudo-terminal: {}", std::io::Error::last_os_error());
        }
        std::ffi::CStr::from_ptr(name.as_ptr()).to_str().unwrap().to_owned()
    };
    let stop = parse_text(&format!("-o {path}")).unwrap_err();
    assert!(stop.exit == Exit::Usage && stop.message.contains("never goes to a terminal"), "{stop:?}");
}
