//! Where threads wait, live: waits that have not ended are there, too.

use std::process::{Command, Stdio};

use pyprof_tests::{Target, capture};
use serde_json::Value;

use super::screen::Screen;
use super::{any_python, command, row};

const WAITS: &str = "
import threading, time
def forever():
    time.sleep(1000)
def naps():
    while True:
        time.sleep(0.3)
def spins():
    while True:
        for _ in range(1000):
            pass
for function in (naps, spins):
    threading.Thread(target=function, name=function.__name__, daemon=True).start()
print('ready', flush=True)
forever()
";

#[test]
fn what_waits_is_shown_second_by_second_before_it_ends() {
    let target = Target::start(&any_python(), "waits.py", WAITS, &[]);
    let pid = target.pid().to_string();
    let output = Command::new(capture::binary())
        .args(["top", "--off-cpu", "--batch", "--json", "-n", "4", "-i", "1", "-w", "2", "-p", &pid])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let tables: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(tables.len(), 4, "{text}");
    for table in &tables[1..] {
        let process = &table["processes"][0];
        let shares =
            [&table["wait_percent"], &process["wait_percent"]].map(|it| it.as_f64().expect("a share"));
        // Two that wait all the time; one that never does, but for the GIL when the other wakes.
        assert!(shares.iter().all(|share| (194.0..=212.0).contains(share)), "{table}");
        assert_eq!(
            (process["pid"].to_string(), &process["threads"]),
            (pid.clone(), &Value::from(3)),
            "{table}"
        );
    }
}

#[test]
fn one_key_leads_from_where_a_process_runs_to_where_it_waits() {
    let target = Target::start(&any_python(), "waits.py", WAITS, &[]);
    let pid = target.pid().to_string();
    for (width, height) in [(80, 24), (200, 50)] {
        let screen = Screen::new(width, height, "screen-256color");
        screen.run(&command(&format!("--off-cpu -i 0.5 -p {pid}")));
        let list = screen.wait_for("it waits", |text| text.contains("% waiting") && text.contains(&pid));
        assert!(list.contains("WAIT*"), "{list}");
        let share: f64 = row(&list, &pid)[1].parse().expect("a number");
        assert!((180.0..=230.0).contains(&share), "{list}");
        // Keys, and what is on the screen after them.
        let rows: [(&[&str], &str); 8] = [
            (&["Enter"], "[functions]"),
            (&["Tab"], "[lines]"),
            (&["Tab"], "[threads]"),
            (&["Tab", "Tab"], "[syscalls]"),
            (&["Tab"], "[functions]"),
            (&["o"], "% CPU"),
            (&["BTab"], "[losses]"),
            (&["o"], "% waiting"),
        ];
        for (keys, expected) in rows {
            screen.keys(keys);
            let shown = screen.wait(expected);
            let (has, of) = match expected {
                "[functions]" => (["forever", "naps"], "OWN"),
                "[threads]" => (["MainThread", "naps"], "WAIT"),
                "[syscalls]" => (["clock_nanosleep", "WAITS"], "SHARE"),
                "% CPU" => (["spins", "functions"], "OWN"),
                _ => continue,
            };
            let shown = if has.iter().all(|word| shown.contains(word)) {
                shown
            } else {
                screen.wait_for(expected, |text| has.iter().all(|word| text.contains(word)))
            };
            assert!(shown.contains(of), "{shown}");
        }
        screen.keys(&["Escape"]);
        screen.wait("1 Python process,");
        screen.keys(&["q"]);
    }
}
