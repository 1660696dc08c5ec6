//! The words of the summary, row by row.

use super::*;
use crate::encode::Format;
use crate::profile::{Context, Gil, Measure, OffCpuMeta, ProcessMeta, Unsupported, UnsupportedProcess};
use pyunwind::Outcome;
use std::path::Path;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

const SECOND: u64 = 1_000_000_000;

fn profile(pid: u32, name: &str, seconds: u64) -> Profile {
    let meta = ProcessMeta { pid, name: name.into(), python_version: "3.12.1".into(), ..Default::default() };
    let mut profile = Profile::new(meta);
    let thread = profile.thread(pid, 0);
    let main = profile.function("<module>", "/srv/app/main.py", 1);
    let main = profile.location(main, 30, 0);
    let work = profile.function("Parser.parse", "/srv/app/parser.py", 80);
    let work = profile.location(work, 88, 0);
    let native = profile.function("<native>", "", 0);
    let native = profile.location(native, 0, 0);
    for (stack, outcome, share) in [
        (vec![work, main], Outcome::Complete, 8),
        (vec![main], Outcome::Truncated, 1),
        (vec![native], Outcome::Unreadable, 1),
    ] {
        let stack = profile.stack(&stack);
        profile.add(thread, stack, outcome, seconds * SECOND / 10 * share);
    }
    profile
}

#[test]
fn the_lines_read_as_documented() {
    let account = |rows: &[(Outcome, u64)], missing_ms: u64| {
        let mut account = Account { missing_ns: missing_ms * 1_000_000, ..Default::default() };
        for (outcome, ms) in rows {
            account.outcomes[*outcome as usize].add(1, ms * 1_000_000);
        }
        captured_line(&account)
    };
    let live = Live {
        elapsed: Duration::from_secs(3723),
        processes: 2,
        samples: 12_345,
        lost: 6,
        frequency_hz: 99,
        own_cpu_percent: 0.34,
    };
    let cost = OwnCost { cpu_ns: 312_000_000, peak_rss_bytes: 22 << 20, kernel_bytes: (8 << 20) + 1 };
    let path = Path::new("./pyprof-web1-20261120T231500Z");
    use Outcome::*;
    let rows = [
        (
            start_line(37, 99, path),
            "Sampling 37 Python processes at 99 Hz; Ctrl-C writes ./pyprof-web1-20261120T231500Z",
        ),
        (start_line(1, 49, Path::new("a\x1bb")), "Sampling 1 Python process at 49 Hz; Ctrl-C writes a\\x1bb"),
        (
            account(&[(Complete, 117_790), (Truncated, 357), (Unreadable, 238)], 715),
            "Captured 118.4 of 119.1 s of Python CPU (99.4 %): complete 98.9, truncated 0.3, unreadable 0.2",
        ),
        (account(&[], 0), "Captured 0.0 of 0.0 s of Python CPU"),
        (
            account(&[(Complete, 10_000)], 0),
            "Captured 10.0 of 10.0 s of Python CPU (100.0 %): complete 100.0",
        ),
        (
            account(&[(Complete, 10_000), (Torn, 1)], 1),
            "Captured 10.0 of 10.0 s of Python CPU (99.9 %): complete 99.9, torn <0.1",
        ),
        (cost_line(&cost), "pyprof-bpf used 0.31 s CPU, 22 MB + 9 MB kernel"),
        (live_line(&live, 100), "01:02:03  2 processes, 12,345 samples, 6 lost at 99 Hz, own CPU 0.3 %"),
        (live_line(&live, 20), "01:02:03  2 proces\u{2026}"),
        (
            open_line(&path.join("app.py-7.pb.gz"), Format::Pprof),
            "go tool pprof -http=: ./pyprof-web1-20261120T231500Z/app.py-7.pb.gz",
        ),
        (open_line(Path::new("a b.html"), Format::Flamegraph), "open in a browser: 'a b.html'"),
        (
            open_line(Path::new("$(x).json"), Format::Firefox),
            "open at https://profiler.firefox.com: '$(x).json'",
        ),
    ];
    for (got, expected) in rows {
        assert_eq!(got, expected);
    }
}

#[test]
fn the_table_is_sorted_aligned_and_cut() {
    let rows = vec![
        Row {
            pid: 7,
            name: "small".into(),
            python: "3.8.18".into(),
            samples: 9,
            cpu_ns: 90_000_000,
            ..Row::default()
        },
        Row {
            pid: 4_194_304,
            name: "\u{65e5}\u{672c}.py".into(),
            container: String::new(),
            python: "3.13.0".into(),
            samples: 12_345,
            cpu_ns: 123_450_000_000,
            truncated: 3,
            lost: 1,
            top: "Parser.parse_a_very_long_line".into(),
        },
        Row { pid: 1, name: "\x1b]0;x\x07".into(), ..Row::default() },
        Row::default(),
    ];
    let expected = "    PID  NAME          PYTHON  SAMPLES   CPU s  TRUNCATED  LOST  TOP FUNCTION
4194304  \u{65e5}\u{672c}.py       3.13.0   12,345  123.45          3     1  Parser.parse_a_ve\u{2026}
      7  small         3.8.18        9    0.09          0     0
      1  \\x1b]0;x\\x07  ?             0    0.00          0     0
\u{2026} and 1 more
";
    assert_eq!(table(rows, 83, (3, 0)), expected);
}

#[test]
fn services_and_containers_show_where_there_are_any() {
    let meta = |pid: u32, service: Option<&str>, container: Option<&str>| {
        let mut profile = profile(pid, "gunicorn", u64::from(pid));
        let labels = &mut profile.process_mut().labels;
        labels.service = service.map(str::to_owned);
        labels.container_id = container.map(str::to_owned);
        Row::of(&profile)
    };
    let rows = vec![
        meta(4, Some("checkout"), Some("3f1b8c0a5d9e4726b1c8d7e6f5a4938271605f4e3d2c1b0a9f8e7d6c5b4a3928")),
        meta(3, Some("gunicorn"), Some("w\x1b[31m")),
        meta(2, Some("pay\x07"), None),
        meta(1, None, None),
    ];
    let expected = "\
PID  NAME                 CONTAINER     PYTHON  SAMPLES  CPU s  TRUNCATED  LOST  TOP FUNCTION
  4  checkout (gunicorn)  3f1b8c0a5d9e  3.12.1        3   4.00          1     1  Parser.parse
  3  gunicorn             w\\x1b[31m     3.12.1        3   3.00          1     1  Parser.parse
  2  pay\\x07 (gunicorn)                 3.12.1        3   2.00          1     1  Parser.parse
  1  gunicorn                           3.12.1        3   1.00          1     1  Parser.parse
";
    assert_eq!(table(rows.clone(), 100, (9, 0)), expected);
    // Without a container there is no column for it, and all columns still fit.
    let expected = "\
PID  NAME                PYTHON  SAMPLES  CPU s  TRUNCATED  LOST  TOP FUN\u{2026}
  2  pay\\x07 (gunicorn)  3.12.1        3   2.00          1     1  Parser.\u{2026}
  1  gunicorn            3.12.1        3   1.00          1     1  Parser.\u{2026}
";
    assert_eq!(table(rows[2..].to_vec(), 74, (9, 0)), expected);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut long = profile(1, &"n".repeat(500), 10);
    long.process_mut().labels.container_id = Some("\u{65e5}".repeat(200));
    let thread = long.thread(1, 0);
    let function = long.function(&"\u{65e5}".repeat(2000), &format!("/{}.py", "d".repeat(3000)), 1);
    let location = long.location(function, u32::MAX, 0);
    let stack = long.stack(&[location]);
    long.add(thread, stack, Outcome::Complete, 90 * SECOND);
    for width in [0, 1, 2, 19, 20, 40, 80, 132] {
        for text in [
            table(vec![Row::of(&long)], width, (20, 0)),
            hottest(&long, width),
            live_line(&Live::default(), width),
        ] {
            for line in text.lines() {
                assert!(line.width() <= width, "{width}: {line:?}");
            }
        }
    }
}

#[test]
fn the_summary_has_all_parts_in_order() {
    let (hot, cold) = (profile(7, "app.py", 10), profile(8, "cold.py", 1));
    let files = [(&cold, Some("cold.py-8.pb.gz")), (&hot, Some("app.py-7.pb.gz"))];
    let text = whole(
        files,
        &Shown::default(),
        0,
        Vec::new(),
        &OwnCost::default(),
        (Path::new("out"), Format::Pprof),
        100,
    );
    let expected = "\
PID  NAME     PYTHON  SAMPLES  CPU s  TRUNCATED  LOST  TOP FUNCTION
  7  app.py   3.12.1        3  10.00          1     1  Parser.parse
  8  cold.py  3.12.1        3   1.00          1     1  Parser.parse

Hottest: app.py (pid 7)
  own %  total %  function
   80.0     80.0  Parser.parse  /srv/app/parser.py:88
   10.0     90.0  <module>      /srv/app/main.py:30
   10.0     10.0  <native>

Captured 11.0 of 11.0 s of Python CPU (100.0 %): complete 80.0, truncated 10.0, unreadable 10.0
pyprof-bpf used 0.00 s CPU, 0 MB + 0 MB kernel
go tool pprof -http=: out/app.py-7.pb.gz
";
    assert_eq!(text, expected);
    // A hottest process whose file could not be written is not offered for opening.
    assert!(
        !whole(
            [(&hot, None)],
            &Shown::default(),
            0,
            Vec::new(),
            &OwnCost::default(),
            (Path::new("out"), Format::Pprof),
            100
        )
        .contains("go tool")
    );
}

#[test]
fn what_was_not_profiled_is_listed_with_its_reason() {
    let one =
        |pid, name: &str, reason: &str| UnsupportedProcess { pid, name: name.into(), reason: reason.into() };
    let rows: [(Vec<UnsupportedProcess>, u64, &str); 4] = [
        (vec![], 0, ""),
        (
            vec![one(7, "old", "CPython 2.7.18"), one(4711, "a\x1b[31m", "PyPy \n3.9")],
            0,
            "Not profiled:\n     7  old        CPython 2.7.18\n  4711  a\\x1b[31m  PyPy \\x0a3.9\n",
        ),
        (
            vec![one(7, "old", "CPython 2.7.18")],
            3,
            "Not profiled:\n  7  old  CPython 2.7.18\n  \u{2026} and 3 more\n",
        ),
        (
            vec![one(7, "old", &"x".repeat(99))],
            0,
            "Not profiled:\n  7  old  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\u{2026}\n",
        ),
    ];
    for (listed, more, expected) in rows {
        assert_eq!(unsupported(&Unsupported { listed, more }, 41), expected);
    }
}

#[test]
fn what_is_not_verified_says_so_beside_its_version() {
    let meta = ProcessMeta { python_version: "3.15.0a3".into(), is_unverified: true, ..Default::default() };
    assert_eq!(Row::of(&Profile::new(meta)).python, "3.15.0a3 unverified");
    assert_eq!(Row::of(&profile(1, "a", 1)).python, "3.12.1");
}

#[test]
fn what_was_waited_for_is_told_with_its_system_call() {
    let mut profile =
        Profile::of(Measure::OFF_CPU, ProcessMeta { pid: 7, name: "app".into(), ..Default::default() });
    let thread = profile.thread(7, 0);
    let function = profile.function("read\x1b[31m", "/srv/app.py", 1);
    let location = profile.location(function, 19, 0);
    let stack = profile.stack(&[location]);
    // The last would be told as 0.00 s.
    for (gil, syscall, ns) in [
        (Gil::NotHeld, Some(libc::SYS_read as u16), 3 * SECOND),
        (Gil::Awaited, Some(1), 2 * SECOND),
        (Gil::NotHeld, Some(2), 4_999_999),
    ] {
        let context = Context { gil, interpreter: 0, syscall };
        profile.add_in(thread, stack, context, Outcome::Complete, ns);
    }
    profile.process_mut().off_cpu =
        Some(OffCpuMeta { blocked_ns: 5 * SECOND, runnable_ns: SECOND, ..OffCpuMeta::default() });
    let text = |width| waits([profile.process()], waits_of(&profile), width);
    let expected = "\
Threads waited 5.0 s, and 1.0 s more for a CPU; most of it:
  seconds  threads  in               where
     3.00        1  read             read\\x1b[31m  /srv/app.py:19
     2.00        1  GIL              read\\x1b[31m  /srv/app.py:19
";
    assert_eq!(text(100), expected);
    for width in [0, 1, 20, 40, 80] {
        assert!(text(width).lines().all(|line| line.width() <= width), "{width}: {}", text(width));
    }
    let none = ProcessMeta::default();
    assert_eq!(waits([&none], Vec::new(), 80), "");
}
