//! What a report prints, on terminals of any width.

use super::*;
use crate::profile::{Loss, Measure, ProcessMeta, Profile, Total};
use crate::report::diff::diff;
use crate::report::source::annotate;
use crate::report::{By, Row, Scale, tally};
use pyunwind::Outcome;

const LONG: &str = "a_function_with_a_name_that_is_far_too_long.<locals>.<lambda>";

fn rows() -> Vec<Row> {
    let total = |samples, weight_ns| Total { samples, weight_ns };
    let row = |name: &str, file: &str, line, own, all| Row {
        name: name.into(),
        file: file.into(),
        line,
        own: total(1, own),
        total: total(1, all),
        ..Row::default()
    };
    vec![
        row("dot", "/srv/app/matrix.py", 15, 930_000_000, 930_000_000),
        row("\x1b[31mred\n", "/srv/\u{202e}app.py", 3, 50_000_000, 1_000_000_000),
        row(LONG, &"/deep".repeat(30), 1234, 20_000_000, 20_000_000),
        row("<native>", "", 0, 0, 1_000_000_000),
    ]
}

fn all() -> Total {
    Total { samples: 99, weight_ns: 1_000_000_000 }
}

fn the_head() -> Head {
    Head {
        host: "web1".into(),
        start_unix_ns: 1_795_216_500_000_000_000,
        duration_ns: 10_000_000_000,
        frequency_hz: 99,
        files: 3,
        processes: 2,
        threads: 1,
        measure: Measure::CPU,
        all: all(),
        selected: Total { samples: 40, weight_ns: 400_000_000 },
        account: None,
        losses: Some(vec![
            Loss { name: "sample_ring_full".into(), count: 1200 },
            Loss { name: "unsampled_ns".into(), count: 3_500_000 },
            Loss { name: "never".into(), count: 0 },
        ]),
        comments: vec!["a \x07 comment".into()],
    }
}

#[test]
fn a_head_says_what_and_what_is_missing() {
    let expected = "\
web1, 2026-11-20T23:15:00.000Z, 10.0 s at 99 Hz, 3 files, 2 processes, 1 thread
cpu: 0.40 of 1.00 s (40.0 %) selected in 40 samples
Losses: sample_ring_full 1,200, unsampled 3.50 ms
Comment: a \\x07 comment
";
    assert_eq!(head("", &the_head(), 100), expected);
    let foreign = Head { losses: None, host: String::new(), start_unix_ns: 0, duration_ns: 0, ..the_head() };
    let foreign = Head { processes: 0, threads: 0, selected: all(), comments: vec![], ..foreign };
    let expected = "3 files\ncpu: 1.00 s in 99 samples\nLosses: these files do not tell\n";
    assert_eq!(head("", &foreign, 100), expected);
    let none = Head { losses: Some(vec![]), ..foreign };
    assert!(head("", &none, 100).ends_with("Losses: none\n"));
}

#[test]
fn a_table_of_functions() {
    let text = top(&rows()[..2], By::Function, &Measure::CPU, all(), 20, 80);
    let expected = "\
OWN s  OWN %  TOTAL s  TOTAL %  FUNCTION         WHERE
 0.93   93.0     0.93     93.0  dot              /srv/app/matrix.py:15
 0.05    5.0     1.00    100.0  \\x1b[31mred\\x0a  /srv/\\u{202e}app.py:3
";
    assert_eq!(text, expected);
    let text = top(&rows(), By::Line, &Measure::CPU, all(), 2, 80);
    assert!(text.ends_with("\u{2026} and 2 more: --limit shows them\n"), "{text}");
}

#[test]
fn nothing_is_wider_than_the_terminal_or_obeyed_by_it() {
    let mut profile =
        Profile::new(ProcessMeta { name: "app\x1b[0m".into(), pid: 7, ..ProcessMeta::default() });
    let stack: Vec<_> = rows()
        .iter()
        .map(|row| {
            let function = profile.function(&row.name, &row.file, row.line);
            profile.location(function, row.line, 0)
        })
        .collect();
    let (thread, stack) = (profile.thread(7, 1), profile.stack(&stack));
    profile.name_python_thread(thread, "worker\n\u{1f40d}");
    profile.add(thread, stack, Outcome::Complete, 1_500_000_000);
    let calls_of = tally::calls(&profile, |_| true);
    let sources = annotate(&profile, |_| true);
    let grown = diff(&profile, &profile, By::Function, Scale::Absolute);
    for width in [20, 40, 80, 200, 1000] {
        let mut text = head("Before: ", &the_head(), width);
        for by in [By::Function, By::Line, By::File, By::Process, By::Thread, By::Wait] {
            text += &top(&tally::rows(&profile, by), by, &Measure::CPU, all(), 3, width);
        }
        text += &calls(&calls_of, &Measure::CPU, |_| (true, true), 3, width);
        text += &source(&sources, &Measure::CPU, all(), 2, width);
        for scale in [Scale::Absolute, Scale::Unknown, Scale::Duration { before_ns: 1, after_ns: 2 }] {
            text += &changes(&grown, &Measure::CPU, scale, (5, 10), 3, width);
        }
        // Below forty columns numbers are all there is room for.
        assert!(width < 40 || text.contains("dot"), "{text}");
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line:?}");
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
    }
}
