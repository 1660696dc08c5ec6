//! The terminal is as it was, however the view ends; and where there is none to draw on, that is said.

use std::process::{Command, Stdio};

use pyprof_tests::{Target, capture};

use super::screen::Screen;
use super::{any_python, command, spinner};

fn assert_given_back(screen: &Screen, how: &str) {
    assert_eq!(screen.state("alternate_on"), "0", "{how}");
    assert_eq!(screen.state("cursor_flag"), "1", "{how}");
    screen.run("clear; stty -a; echo settings");
    let settings = screen.wait_for("settings", |text| text.lines().any(|line| line == "settings"));
    for word in ["icanon", "echo", "isig", "icrnl", "opost"] {
        assert!(settings.split([' ', ';', '\n']).any(|one| one == word), "{how}: {word}\n{settings}");
    }
    screen.run("clear");
    screen.wait_for("a clear screen", |text| text.trim() == "$");
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let target = spinner("spin.py");
    let screen = Screen::new(100, 30, "screen");
    let pid = target.pid().to_string();
    let own = screen.path().join("pid");
    let start = format!("{} & echo $! > {}; fg; echo ended $?", command(&format!("-p {pid}")), own.display());
    for how in ["q", "C-c", "-INT", "-TERM", "-HUP"] {
        screen.run(&start);
        screen.wait("Python process");
        assert_eq!(screen.state("alternate_on"), "1");
        if how.starts_with('-') {
            let own = std::fs::read_to_string(&own).expect("its pid");
            assert!(Command::new("kill").args([how, own.trim()]).status().expect("kill runs").success());
        } else {
            screen.keys(&[how]);
        }
        screen.wait("ended 0");
        assert_given_back(&screen, how);
    }
    // Stopped by its key, and by another's signal; each time it goes on.
    screen.run(&start);
    screen.wait("Python process");
    for how in ["C-z", "-TSTP"] {
        if how.starts_with('-') {
            let own = std::fs::read_to_string(&own).expect("its pid");
            assert!(Command::new("kill").args([how, own.trim()]).status().expect("kill runs").success());
        } else {
            screen.keys(&[how]);
        }
        screen.wait("Stopped");
        assert_given_back(&screen, how);
        screen.run("fg; echo ended $?");
        screen.wait("Python process");
        assert_eq!(screen.state("alternate_on"), "1");
    }
    screen.keys(&["q"]);
    screen.wait("ended 0");
    assert_given_back(&screen, "after it was stopped");
}

#[test]
fn colours_are_there_only_where_they_are_wanted() {
    let target = spinner("spin.py");
    let screen = Screen::new(80, 24, "screen");
    let pid = target.pid().to_string();
    let rows = [
        ("", "", true),
        ("", "--color never", false),
        ("NO_COLOR=1 ", "", false),
        ("NO_COLOR= ", "", true),
        ("NO_COLOR=1 ", "--color always", true),
    ];
    for (environment, args, expected) in rows {
        screen.run(&format!("{environment}{}", command(&format!("-p {pid} {args}"))));
        screen.wait("spin");
        // SGR 30 to 37 and 90 to 97, and what begins with 38: foregrounds. Bold and reverse are no colours.
        let coloured = screen.coloured();
        let has_colour = coloured.split('\x1b').any(|sequence| {
            let numbers =
                sequence.strip_prefix('[').and_then(|rest| rest.split_once('m')).map_or("", |(one, _)| one);
            numbers.split(';').any(|number| matches!(number.parse(), Ok(30..=38 | 90..=97)))
        });
        assert_eq!(has_colour, expected, "{environment:?} {args:?}\n{coloured:?}");
        screen.keys(&["q"]);
        screen.wait_for("the shell", |text| text.trim_end().ends_with('$') && !text.contains("PID"));
        screen.run("clear");
        screen.wait_for("a clear screen", |text| text.trim() == "$");
    }
}

#[test]
fn where_nothing_can_be_drawn_that_is_said() {
    let screen = Screen::new(160, 24, "screen");
    let rows = [
        ("TERM=dumb", "kind dumb"),
        ("TERM=unknown", "kind unknown"),
        ("TERM=", "TERM is not set"),
        ("-u TERM", "TERM is not set"),
    ];
    for (number, (environment, word)) in rows.into_iter().enumerate() {
        screen.run(&format!("clear; env {environment} {}; echo {number} ended $?", command("")));
        let text = screen.wait(&format!("{number} ended 2"));
        assert!(text.contains(word) && text.contains("--batch"), "{environment}: {text}");
    }
    for kind in ["xterm", "linux", "vt100"] {
        screen.run(&format!("clear; TERM={kind} {}; echo {kind} ended $?", command("")));
        screen.wait("Python process");
        screen.keys(&["q"]);
        screen.wait(&format!("{kind} ended 0"));
    }
    let output = Command::new(capture::binary()).arg("top").stdin(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    assert!(said.contains("--batch") && said.contains("record"), "{said}");
}

/// A function, its file and a thread whose names are what a terminal would obey.
const EVIL: &str = r#"
import threading, types
def spin():
    while True:
        for _ in range(2000):
            pass
name = "f\x1b[31m\x07\u202eg"
code = spin.__code__.replace(co_name=name, co_qualname=name, co_filename="/x\x1b[2J\u65e5/y.py")
print("ready", flush=True)
threading.current_thread().name = "t\x1b]0;x\x07"
types.FunctionType(code, globals())()
"#;

#[test]
fn nothing_of_a_target_reaches_the_terminal_raw() {
    let target = Target::start(&any_python(), "e\u{1b}[31m\u{7}\u{202e}v.py", EVIL, &[]);
    let screen = Screen::new(160, 24, "screen");
    screen.run(&command(&format!("-p {}", target.pid())));
    let function = "f\\x1b[31m\\x07\\u{202e}g";
    screen.wait_for("a row", |text| text.contains("e\\x1b[31m\\x07\\u{202e}v") && text.contains(function));
    screen.keys(&["Enter"]);
    screen.wait_for("functions", |text| text.contains(function) && text.contains("/x\\x1b[2J\u{65e5}/y.py:"));
    screen.keys(&["Tab", "Tab"]);
    screen.wait("t\\x1b]0;x\\x07");
    screen.keys(&["q"]);
}
