//! Keys one by one, on a small and on a big terminal.

use super::screen::Screen;
use super::{command, row, spinner};

#[test]
fn every_key_works_on_a_small_and_on_a_big_terminal() {
    let (first, second) = (spinner("first.py"), spinner("second.py"));
    let pids = [first.pid(), second.pid()].map(|pid| pid.to_string());
    for (width, height, kind) in [(80, 24, "screen"), (200, 50, "screen-256color")] {
        let screen = Screen::new(width, height, kind);
        screen.run(&command(&format!("-i 0.5 -p {} -p {}", pids[0], pids[1])));
        // Keys, and what is on the screen after them.
        let rows: [(&[&str], &str); 30] = [
            (&[], "2 Python processes"),
            // What is selected stays so where two processes change their places: by pid they do not.
            (&["<"], "PID*"),
            (&["j"], " 2/2 "),
            (&["Up"], " 1/2 "),
            (&["Down"], " 2/2 "),
            (&["k"], " 1/2 "),
            (&["End"], " 2/2 "),
            (&["Home"], " 1/2 "),
            (&["NPage"], " 2/2 "),
            (&["PPage"], " 1/2 "),
            (&["s"], "CPU*"),
            (&[">"], "GIL*"),
            (&["<"], "CPU*"),
            (&["o"], "start with --off-cpu"),
            (&["w"], "of 30 s"),
            (&["-"], "of 10 s"),
            (&["h"], "Shift-Tab"),
            (&["x"], "2 Python processes"),
            (&["/", "f", "i", "r", "s"], "filter: firs_"),
            (&["Enter"], " 1/1 "),
            (&["Enter"], "[functions]"),
            (&["Tab"], "[lines]"),
            (&["Tab"], "[threads]"),
            (&["Tab"], "[losses]"),
            (&["BTab"], "[threads]"),
            (&["BTab", "BTab"], "[functions]"),
            (&["Enter"], "callers and callees of inner"),
            (&["Escape"], "[functions]"),
            (&["Escape"], "/firs/"),
            (&["Escape"], " 1/2 "),
        ];
        for (keys, expected) in rows {
            if !keys.is_empty() {
                screen.keys(keys);
            }
            screen.wait(expected);
        }
        let list = screen.wait_for("both at work", |text| {
            pids.iter().all(|pid| text.contains(&format!("{pid} "))) && text.matches(" inner").count() == 2
        });
        assert_eq!(row(&list, &pids[0])[6..], ["first", "inner"], "{list}");
        assert!(list.lines().all(|line| line.chars().count() <= width as usize), "{list}");

        // What is held does not change; sampling goes on.
        screen.keys(&["Space"]);
        let held = screen.wait("HELD");
        let table = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(1500);
        while std::time::Instant::now() < until {
            assert_eq!(table(&screen.text()), table(&held));
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        screen.keys(&["Space"]);
        screen.wait_for("going on", |text| !text.contains("HELD"));

        for (width, height) in [(60, 15), (132, 43), (20, 5), (width, height)] {
            screen.resize(width, height);
            // The last line is at the bottom, and the heads still in the third.
            screen.wait_for("a screen of its size", |text| {
                let lines: Vec<&str> = text.lines().collect();
                lines.len() == height as usize
                    && lines[2].contains("PID")
                    && lines[2].contains("CPU*")
                    && lines.last().is_some_and(|line| line.starts_with(" 1/2 "))
                    && lines.iter().all(|line| line.chars().count() <= width as usize)
            });
        }
        screen.keys(&["q"]);
        screen.wait_for("the shell", |text| text.trim_end().ends_with('$') && !text.contains("PID"));
    }
}
