//! The whole of the view without a kernel and without a terminal: what was counted, which keys were pressed, what stands on
//! the screen.

use std::time::Duration;

use profiler_common::ProcessKey;
use pyunwind::Outcome;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::draw::{Status, draw, room};
use super::history::{History, KEPT_NS, Shown, Window};
use super::keys::Key;
use super::pages::{Page, page};
use super::state::{Action, State, Tab, View};
use crate::pipeline::Sums;
use crate::profile::{Context, Gil, LocationId, Loss, ProcessMeta, Profile};

const SECOND: u64 = 1_000_000_000;
const BYTES: usize = 64 << 20;

fn key(pid: u32) -> ProcessKey {
    ProcessKey { start_ns: u64::from(pid), tgid: pid, exec_id: 1 }
}

fn meta(pid: u32, name: &str) -> ProcessMeta {
    ProcessMeta {
        pid,
        name: name.into(),
        comm: "python".into(),
        python_version: "3.12.1".into(),
        ..Default::default()
    }
}

/// One stack of a thread: functions as `name:line`, the leaf first; what of it held the GIL; milliseconds.
type Counted<'a> = (u32, &'a [&'a str], Gil, Outcome, u64);

fn profile(meta: &ProcessMeta, counted: &[Counted]) -> (Profile, Sums) {
    let mut profile = Profile::new(meta.clone());
    let mut sums = Sums::default();
    for (tid, frames, gil, outcome, ms) in counted {
        let places: Vec<LocationId> = frames
            .iter()
            .map(|frame| {
                let (name, line) = frame.rsplit_once(':').unwrap_or((frame, "0"));
                let file = if name.starts_with('<') && name != "<module>" { "" } else { "/srv/app.py" };
                let function = profile.function(name, file, 1);
                profile.location(function, line.parse().unwrap(), 0)
            })
            .collect();
        let stack = profile.stack(&places);
        let thread = profile.thread(*tid, 1);
        profile.name_thread(thread, &format!("thread-{tid}"));
        let context = Context { gil: *gil, ..Context::default() };
        profile.add_in(thread, stack, context, *outcome, ms * 1_000_000);
        sums.outcomes[*outcome as usize].add(1, ms * 1_000_000);
    }
    (profile, sums)
}

fn count(history: &mut History, pid: u32, name: &str, counted: &[Counted]) {
    let meta = meta(pid, name);
    let (profile, sums) = profile(&meta, counted);
    history.count(key(pid), &meta, false, &profile, sums);
}

use Gil::{Held, NotHeld, Unknown};
use Outcome::{Complete, Native, Torn, Truncated};

/// A second of two processes.
fn second(history: &mut History) {
    let web: &[Counted] = &[
        (10, &["parse:12", "handle:30", "<module>:3"], Held, Complete, 400),
        (10, &["parse:13", "parse:12", "handle:31", "<module>:3"], Held, Complete, 200),
        (11, &["render:40", "handle:32", "<module>:3"], NotHeld, Truncated, 150),
        (11, &["<torn>"], Unknown, Torn, 50),
    ];
    count(history, 7, "web.py", web);
    count(history, 8, "idle.py", &[]);
    count(history, 9, "\x1b]0;x\x07\u{65e5}\u{672c}.py", &[(9, &["<native>"], Unknown, Native, 100)]);
    history.end_period(SECOND, BYTES);
}

struct Seen {
    state: State,
    history: History,
    size: (u16, u16),
}

impl Seen {
    fn new(width: u16, height: u16) -> Seen {
        let mut history = History::of(Shown::Cpu);
        for _ in 0..3 {
            second(&mut history);
        }
        Seen { state: State::new(Window::Seconds(10), Shown::Cpu), history, size: (width, height) }
    }

    fn page(&self) -> Page {
        let host =
            [Loss { name: "sample_ring_full".into(), count: 3 }, Loss { name: "none".into(), count: 0 }];
        page(&self.history, &self.state.view, self.state.window, &host)
    }

    fn press(&mut self, key: Key) -> Action {
        let page = self.page();
        let action = self.state.press(key, &page, room(self.size.1));
        match action {
            Action::Pause => self.history.pause(),
            Action::Resume => self.history.resume(),
            Action::Reset => self.history.reset(),
            _ => {}
        }
        action
    }

    fn keys(&mut self, keys: &str) -> &mut Seen {
        for c in keys.chars() {
            self.press(match c {
                '\n' => Key::Enter,
                '\t' => Key::Tab,
                '\x1b' => Key::Escape,
                c => Key::Char(c),
            });
        }
        self
    }

    fn lines(&mut self) -> Vec<String> {
        let page = self.page();
        let shown = self.state.shown(&page.table);
        self.state.settle(&page.table, &shown, room(self.size.1));
        let status = Status {
            host: "web1".into(),
            elapsed: Duration::from_secs(3723),
            frequency_hz: 99,
            own_cpu_percent: 0.34,
            own_bytes: 22 << 20,
            lost: 1234,
            ..Status::default()
        };
        let (width, height) = self.size;
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        draw(&mut buffer, &self.state, &page, &status, true);
        // The cell behind a wide character is empty and has no width of its own.
        let row = |y: u16| {
            let mut line = String::new();
            let mut skip = 0;
            for x in 0..width {
                let symbol = buffer[(x, y)].symbol();
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                skip = symbol.width().saturating_sub(1);
                line.push_str(symbol);
            }
            line
        };
        (0..height).map(row).collect()
    }

    fn text(&mut self) -> String {
        self.lines().iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

#[test]
fn the_list_says_who_uses_the_cpu() {
    let expected = "\
01:02:03 99 Hz, own 0.3 % 22 MB, lost 1,234, window 3 of 10 s  web1
3 Python processes, 90.0 % CPU, 5.6 % of it without a stack
 PID CPU* GIL% LOST%  THR PYTHON  NAME                TOP FUNCTION
   7 80.0 60.0   6.2    2 3.12.1  web.py              parse
   9 10.0    -   0.0    1 3.12.1  \\x1b]0;x\\x07\u{65e5}\u{672c}.py <native>
   8  0.0    -   0.0    0 3.12.1  idle.py

 1/3  Enter open  s sort  / filter  w window  space hold  h help  q quit
";
    assert_eq!(Seen::new(80, 8).text(), expected);
}

#[test]
fn a_process_shows_functions_lines_threads_and_losses() {
    let rows = [
        (
            "\n",
            "\
[functions] lines threads losses  7 web.py - 80.0 % CPU - Python 3.12.1
OWN* TOTAL% FUNCTION  FILE
75.0   75.0 parse     /srv/app.py:1
18.8   18.8 render    /srv/app.py:1
 6.2    6.2 <torn>
 0.0   93.8 handle    /srv/app.py:1
 0.0   93.8 <module>  /srv/app.py:1
",
        ),
        (
            "\n\t",
            "\
functions [lines] threads losses  7 web.py - 80.0 % CPU - Python 3.12.1
OWN* TOTAL% FUNCTION  LINE
50.0   75.0 parse     /srv/app.py:12
25.0   25.0 parse     /srv/app.py:13
18.8   18.8 render    /srv/app.py:40
 6.2    6.2 <torn>
 0.0   93.8 <module>  /srv/app.py:3
 0.0   50.0 handle    /srv/app.py:30
 0.0   25.0 handle    /srv/app.py:31
 0.0   18.8 handle    /srv/app.py:32
",
        ),
        (
            "\n\t\t",
            "\
functions lines [threads] losses  7 web.py - 80.0 % CPU - Python 3.12.1
 TID CPU* GIL% THREAD    TOP FUNCTION
  10 60.0 60.0 thread-10 parse
  11 20.0  0.0 thread-11 render
",
        ),
        (
            "\n\t\t\t",
            "\
functions lines threads [losses]  7 web.py - 80.0 % CPU - Python 3.12.1
SHARE*  SAMPLES WHAT BECAME OF SAMPLES
  75.0        6 complete
  18.8        3 truncated
   6.2        3 torn
     -        3 host since start: sample_ring_full
",
        ),
        (
            "\njjj\n",
            "\
7 web.py - 80.0 % CPU - Python 3.12.1 - callers and callees of handle
TOTAL* WAY       FUNCTION  FILE
 100.0 called by <module>  /srv/app.py:1
  80.0 calls     parse     /srv/app.py:1
  20.0 calls     render    /srv/app.py:1
",
        ),
    ];
    for (keys, expected) in rows {
        let text = Seen::new(90, 14).keys(keys).text();
        let (_, text) = text.split_once('\n').unwrap();
        assert_eq!(text.split("\n\n").next().unwrap().trim_end(), expected.trim_end(), "{keys:?}");
    }
}

#[test]
fn every_key_does_what_the_help_says() {
    // Keys, the size, what must be on the screen after them, what must not.
    let rows: [(&str, &str, &str); 22] = [
        ("", " 1/3 ", "HELD"),
        ("j", " 2/3 ", " 1/3 "),
        ("jjjj", " 3/3 ", " 1/3 "),
        ("jk", " 1/3 ", " 2/3 "),
        ("G", " 3/3 ", " 1/3 "),
        ("Gg", " 1/3 ", " 3/3 "),
        ("h", "Shift-Tab", "web.py"),
        ("?", "Shift-Tab", "web.py"),
        ("hx", "web.py", "Shift-Tab"),
        ("s", "CPU% GIL*", "CPU*"),
        ("<", "PID* CPU%", "CPU*"),
        ("><", "CPU*", "GIL*"),
        ("/IDLE\n", "nothing matches", "web.py"),
        ("/idle\n", "/idle/", "web.py"),
        ("/idle", "filter: idle_", "web.py"),
        ("/idle\x1b", "web.py", "/idle/"),
        ("/idle\n\x1b", "web.py", "/idle/"),
        ("w", "window 3 of 30 s", "of 10 s"),
        ("-", "window 3 of 5 s", "of 10 s"),
        ("www", "window all 3 s", "of"),
        (" ", "HELD", "<nothing>"),
        ("  ", "01:02:03", "HELD"),
    ];
    for (keys, there, absent) in rows {
        let text = Seen::new(99, 24).keys(keys).text();
        let first_lines: Vec<&str> = text.lines().collect();
        assert!(text.contains(there), "{keys:?} {there:?}\n{text}");
        let where_absent = if absent == "of" { first_lines[0].to_owned() } else { text.clone() };
        assert!(!where_absent.contains(absent), "{keys:?} {absent:?}\n{text}");
    }
    for (key, action) in [
        (Key::Char('q'), Action::Quit),
        (Key::Interrupt, Action::Quit),
        (Key::Suspend, Action::Suspend),
        (Key::Repaint, Action::Repaint),
        (Key::Char('r'), Action::Reset),
        (Key::Char('x'), Action::None),
    ] {
        assert_eq!(Seen::new(80, 24).press(key), action, "{key:?}");
    }
    let help = Seen::new(80, 24).keys("?").text();
    let help = help.lines().skip(2).collect::<Vec<_>>().join("\n");
    assert!(!help.contains('\u{2026}') && help.contains("  THR "), "it is cut:\n{help}");
    // A letter that is typed into a filter is no command.
    let mut seen = Seen::new(80, 24);
    seen.keys("/q");
    assert_eq!((seen.state.cursor.filter.clone(), seen.press(Key::Backspace)), ("q".into(), Action::None));
    assert_eq!(seen.press(Key::Interrupt), Action::Quit);
}

#[test]
fn order_and_way_back() {
    let pids = |seen: &mut Seen| -> Vec<String> {
        let lines = seen.lines();
        lines[3..6].iter().map(|line| line.split_whitespace().next().unwrap_or("").into()).collect()
    };
    for (keys, expected) in
        [("", ["7", "9", "8"]), ("<", ["9", "8", "7"]), ("R", ["8", "9", "7"]), ("<R", ["7", "8", "9"])]
    {
        assert_eq!(pids(Seen::new(80, 24).keys(keys)), expected, "{keys:?}");
    }
    let mut seen = Seen::new(80, 24);
    seen.keys("j\n\t");
    assert!(matches!(seen.state.view, View::Process(_, Tab::Lines)));
    seen.keys("\n");
    assert!(matches!(seen.state.view, View::Function(..)), "{:?}", seen.state.view);
    seen.keys("\x1b");
    assert!(matches!(seen.state.view, View::Process(_, Tab::Lines)));
    seen.keys("\x1b");
    assert_eq!((seen.state.view.clone(), seen.state.cursor.selected), (View::Processes, 1));
    seen.keys("\x1b");
    assert_eq!(seen.state.view, View::Processes);
}

#[test]
fn what_is_selected_stays_selected_and_on_the_screen() {
    let mut seen = Seen::new(80, 24);
    for pid in 100..200 {
        let ms = u64::from(pid);
        count(&mut seen.history, pid, &format!("p{pid}"), &[(pid, &["f:1"], Unknown, Complete, ms)]);
    }
    seen.history.end_period(SECOND, BYTES);
    seen.keys("jjj");
    let selected = |seen: &mut Seen| {
        seen.lines();
        let page = seen.page();
        let shown = seen.state.shown(&page.table);
        let cursor = &seen.state.cursor;
        assert!((cursor.first..cursor.first + room(seen.size.1)).contains(&cursor.selected));
        page.table.rows[shown[cursor.selected]].cells[0].text.clone()
    };
    let first = selected(&mut seen);
    for _ in 0..3 {
        let name = format!("p{first}");
        count(&mut seen.history, first.parse().unwrap(), &name, &[(1, &["f:1"], Unknown, Complete, 900)]);
        seen.history.end_period(SECOND, BYTES);
        assert_eq!(selected(&mut seen), first);
    }
    for _ in 0..8 {
        seen.press(Key::PageDown);
        selected(&mut seen);
    }
    seen.size = (20, 6);
    selected(&mut seen);
    // With the top row, one follows what is on top.
    seen.keys("g");
    let top = selected(&mut seen);
    count(&mut seen.history, 150, "p150", &[(150, &["f:1"], Unknown, Complete, 90_000)]);
    seen.history.end_period(SECOND, BYTES);
    assert_eq!((top == "150", selected(&mut seen)), (false, "150".into()));
}

#[test]
fn a_screen_of_any_size_is_filled_and_holds_no_control_character() {
    for size in [(1, 1), (2, 3), (10, 4), (40, 10), (80, 24), (200, 50), (500, 5)] {
        for keys in ["", "h", "\n", "\n\t", "\n\t\t", "\n\t\t\t", "\n\n", "/x", "j\n"] {
            let mut seen = Seen::new(size.0, size.1);
            for line in seen.keys(keys).lines() {
                assert_eq!(line.width(), usize::from(size.0), "{size:?} {keys:?} {line:?}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}

#[test]
fn a_window_slides_and_all_is_never_lost() {
    let mut history = History::of(Shown::Cpu);
    let cpu = |history: &History, window| {
        let page = page(history, &View::Processes, window, &[]);
        (page.percent.round() as u64, page.window_ns / SECOND)
    };
    for second in 0..200u64 {
        let ms = if second < 190 { 1000 } else { 100 };
        // Where memory is short, counts are taken over more often than periods end.
        for part in [ms * 3 / 10, ms - ms * 3 / 10] {
            count(&mut history, 7, "a", &[(7, &["f:1"], Unknown, Complete, part)]);
        }
        history.end_period(SECOND, BYTES);
    }
    let rows = [
        (Window::Seconds(1), (10, 1)),
        (Window::Seconds(10), (10, 10)),
        (Window::Seconds(20), (55, 20)),
        (Window::Seconds(60), (85, KEPT_NS / SECOND)),
        (Window::All, (96, 200)),
    ];
    for (window, expected) in rows {
        assert_eq!(cpu(&history, window), expected, "{window:?}");
    }
    history.reset();
    assert_eq!(cpu(&history, Window::All), (0, 0));
}

#[test]
fn a_pause_holds_what_is_shown_and_loses_nothing() {
    let mut seen = Seen::new(80, 24);
    seen.keys("ww wwwww");
    seen.state.window = Window::All;
    let before = seen.text();
    for _ in 0..100 {
        second(&mut seen.history);
        count(&mut seen.history, 66, "new.py", &[(66, &["f:1"], Unknown, Complete, 10)]);
    }
    assert_eq!(seen.text(), before);
    let held = seen.history.memory_bytes();
    for _ in 0..1000 {
        second(&mut seen.history);
    }
    assert!(seen.history.memory_bytes() <= held, "a pause fills memory");
    seen.keys(" ");
    let text = seen.text();
    assert!(
        text.contains("window all 1103 s") && text.contains("new.py") && text.contains(" 80.0 "),
        "{text}"
    );
    seen.state.window = Window::Seconds(10);
    assert!(seen.text().contains("window 0 of 10 s"), "a window has no gap in it");
}

#[test]
fn who_is_gone_is_marked_and_forgotten_after_the_heaviest() {
    let mut history = History::of(Shown::Cpu);
    for pid in 1..=2000u32 {
        let meta = meta(pid, &format!("p{pid}"));
        let (profile, sums) = profile(&meta, &[(pid, &["f:1"], Unknown, Complete, u64::from(pid))]);
        history.count(key(pid), &meta, pid % 2 == 0, &profile, sums);
        history.end_period(SECOND / 10, BYTES);
    }
    let all = page(&history, &View::Processes, Window::All, &[]);
    let expected: u64 = (1..=2000).sum();
    assert_eq!((all.percent * 200.0 * 10.0).round() as u64, expected, "CPU of all adds up");
    assert!(all.table.rows.len() <= 600 + 256, "{} rows", all.table.rows.len());
    assert!(all.table.rows.iter().any(|row| row.cells[6].text == "p2000 (ended)"));
    assert_eq!(history.forgotten.processes, 2000 - all.table.rows.len() as u64);
}

#[test]
fn memory_stays_within_its_bounds_and_time_adds_up() {
    // Code that is new all the time, deep stacks, threads that come and go.
    let most = 1 << 20;
    let mut history = History::of(Shown::Cpu);
    let mut peak = 0;
    for second in 0..150u32 {
        for pid in 1..=4 {
            let frames: Vec<Vec<String>> = (0..20)
                .map(|n| (0..20).map(|depth| format!("f{second}_{n}_{depth}:{depth}")).collect())
                .collect();
            let frames: Vec<Vec<&str>> =
                frames.iter().map(|stack| stack.iter().map(String::as_str).collect()).collect();
            let counted: Vec<Counted> =
                frames.iter().map(|stack| (second, stack.as_slice(), Unknown, Complete, 5)).collect();
            count(&mut history, pid, "churn.py", &counted);
        }
        history.end_period(SECOND, most);
        peak = peak.max(history.memory_bytes());
    }
    assert!(peak <= most, "{peak} bytes");
    let page = page(&history, &View::Processes, Window::All, &[]);
    assert_eq!(page.percent.round() as u64, 4 * 20 * 5 / 10);
    assert_eq!(page.window_ns, 150 * SECOND);
}
