//! Sums of a few stacks, worked out by hand.

use super::*;
use crate::profile::{ProcessMeta, Profile};
use pyunwind::Outcome;

/// A thread, frames as `name line`, leaf first, and nanoseconds.
type Stack<'a> = (u32, &'a [(&'a str, u32)], u64);

fn profile(rows: &[Stack<'_>]) -> Profile {
    let mut profile = Profile::new(ProcessMeta { pid: 7, name: "app".into(), ..ProcessMeta::default() });
    for (tid, frames, ns) in rows {
        let stack: Vec<_> = frames
            .iter()
            .map(|(name, line)| {
                let function = profile.function(name, "/a.py", line / 10 * 10);
                profile.location(function, *line, 0)
            })
            .collect();
        let (thread, stack) = (profile.thread(*tid, 1), profile.stack(&stack));
        profile.name_python_thread(thread, &format!("t{tid}"));
        profile.add(thread, stack, Outcome::Complete, *ns);
    }
    profile
}

fn example() -> Profile {
    profile(&[
        (1, &[("fib", 12), ("fib", 13), ("fib", 13), ("main", 22)], 50),
        (1, &[("fib", 13), ("main", 22)], 20),
        (2, &[("main", 21)], 10),
        (2, &[("<lambda>", 31), ("<lambda>", 41), ("main", 22)], 7),
    ])
}

#[test]
fn a_row_counts_once_per_stack() {
    let rows = [
        (
            By::Function,
            vec![
                ("fib", 12, 70, 50 + 20),
                ("main", 21, 10, 87),
                ("<lambda>", 31, 7, 7),
                ("<lambda>", 40, 0, 7),
            ],
        ),
        (
            By::Line,
            vec![
                ("fib", 12, 50, 50),
                ("fib", 13, 20, 70),
                ("main", 21, 10, 10),
                ("<lambda>", 31, 7, 7),
                ("main", 22, 0, 77),
                ("<lambda>", 41, 0, 7),
            ],
        ),
        (By::File, vec![("/a.py", 0, 87, 87)]),
        (By::Process, vec![("app", 0, 87, 87)]),
        (By::Thread, vec![("t1", 0, 70, 70), ("t2", 0, 17, 17)]),
    ];
    for (by, expected) in rows {
        let rows = rows_of(by);
        let got: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.line, row.own.weight_ns, row.total.weight_ns))
            .collect();
        assert_eq!(got, expected, "{by:?}");
    }
}

fn rows_of(by: By) -> Vec<Row> {
    super::rows(&example(), by)
}

#[test]
fn calls_are_edges_between_different_functions() {
    let profile = example();
    let all = calls(&profile, |_| true);
    let edges = |edges: &[Edge]| -> Vec<(String, u64)> {
        edges.iter().map(|edge| (edge.name.clone(), edge.total.weight_ns)).collect()
    };
    let got: Vec<_> =
        all.iter().map(|it| (it.function.name.as_str(), edges(&it.callers), edges(&it.callees))).collect();
    let list =
        |rows: &[(&str, u64)]| rows.iter().map(|(name, ns)| (name.to_string(), *ns)).collect::<Vec<_>>();
    let expected = vec![
        ("main", list(&[("", 87)]), list(&[("fib", 70), ("<lambda>", 7)])),
        ("fib", list(&[("main", 70)]), vec![]),
        ("<lambda>", list(&[("main", 7)]), vec![]),
    ];
    assert_eq!(got, expected);
    assert_eq!(calls(&profile, |_| false), []);
}

#[test]
fn a_line_that_is_in_two_functions_is_one_line_of_source() {
    let profile = profile(&[(1, &[("f.<listcomp>", 11), ("f", 11)], 5), (1, &[("f", 11)], 2)]);
    let sums = |by_name| -> Vec<(u64, u64)> {
        let mut sums: Vec<_> = lines(&profile, by_name, |_| true)
            .iter()
            .map(|row| (row.own.weight_ns, row.total.weight_ns))
            .collect();
        sums.sort();
        sums
    };
    assert_eq!(sums(true), [(2, 7), (5, 5)]);
    assert_eq!(sums(false), [(7, 7)]);
}
