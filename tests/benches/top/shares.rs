//! Percentages against what the target's own clocks say.

use pyprof_tests::Target;

use super::screen::Screen;
use super::{any_python, command, row};

const SOURCE: &str = include_str!("../../targets/top_load.py");
const SECONDS: u32 = 6;

#[test]
fn shares_are_those_of_the_threads_own_clocks() {
    let mut target = Target::start(&any_python(), "load.py", SOURCE, &[]);
    let screen = Screen::new(100, 24, "screen");
    let pid = target.pid().to_string();
    screen.run(&command(&format!("-F 997 --max-cpu 400 -w all -i 0.2 -p {pid}")));
    screen.wait_for("the list", |text| text.contains("Python process") && text.contains(&pid));
    screen.keys(&["Enter", "Tab", "Tab"]);
    screen.wait("[threads]");
    // The window begins here, and so does the work.
    screen.keys(&["r"]);
    target.tell(&SECONDS.to_string());
    let truth: Vec<f64> =
        target.line().split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let [took, main, light, heavy, long, short] = truth[..] else { panic!("{truth:?}") };
    screen.keys(&["Space"]);
    screen.wait("HELD");
    screen.keys(&["Escape"]);
    let list =
        screen.wait_for("the process", |text| text.contains("1 Python process") && text.contains(" load"));
    // What is held is a little longer than the work: percents of the window are of that.
    let window: f64 = list
        .split_once("window all ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .expect("the window");
    assert!((window - took / 1e9).abs() <= 1.5, "{window} s of {took} ns\n{list}");
    let number = |text: &str| text.parse::<f64>().unwrap_or_else(|_| panic!("{text}: no number\n{list}"));
    let all = main + light + heavy;
    // 997 Hz x 6 s x 0.7 of a core and more are 4,000 samples: a share of a half has a deviation of 0.8 %, and five of
    // those are a false alarm in a million. A window that is rounded to a second adds half of one in six.
    let close = |what: &str, shown: f64, expected: f64, slack: f64| {
        assert!(
            (shown - expected).abs() <= slack,
            "{what}: {shown} shown, {expected:.1} expected\n{}",
            screen.text()
        );
    };
    let cpu = number(row(&list, &pid)[1]);
    let expected_cpu = all / took * 100.0;
    close("CPU", cpu, expected_cpu, 4.0 + expected_cpu * 0.12);

    screen.keys(&["Enter", "Tab"]);
    let lines = screen.wait("[lines]");
    // 600,000 and 200,000 rounds: whatever they took, the target has measured it.
    for (line, ns) in [("13", long), ("17", short)] {
        let place = format!("load.py:{line}");
        let found = lines
            .lines()
            .find(|one| one.trim_end().ends_with(&place))
            .unwrap_or_else(|| panic!("{place}\n{lines}"));
        close(&place, number(found.split_whitespace().next().expect("a word")), ns / all * 100.0, 4.0);
    }
    screen.keys(&["Tab"]);
    let threads = screen.wait("[threads]");
    for (name, ns) in [("MainThread", main), ("light", light), ("heavy", heavy)] {
        let shown = row(&threads, name);
        close(name, number(shown[1]) / cpu * 100.0, ns / all * 100.0, 4.0);
        // All of it is Python, which runs with the GIL held.
        close(&format!("GIL of {name}"), number(shown[2]), number(shown[1]), 1.0 + number(shown[1]) * 0.1);
    }
    screen.keys(&["q"]);
    screen.wait_for("the shell", |text| text.trim_end().ends_with('$'));
}
