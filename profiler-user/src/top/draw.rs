//! One screen: a pure function of what is chosen and what is shown. Every text in it was made fit for a terminal before.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::history::{Shown, Window};
use super::pages::Page;
use super::state::{State, Tab, View};
use crate::escape::escape;
use crate::summary::columns::{Align, cut, grouped, pad};

/// Lines above the table, and below.
const ABOVE: usize = 3;
const BELOW: usize = 1;

/// What the profiler says of itself.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub host: String,
    pub elapsed: Duration,
    pub frequency_hz: u32,
    /// Of one core.
    pub own_cpu_percent: f64,
    pub own_bytes: u64,
    /// Samples that the ring had no room for, since the start.
    pub lost: u64,
    /// Pythons that cannot be profiled.
    pub unsupported: u64,
    /// Something to say, such as a lower frequency.
    pub notice: String,
}

/// Rows that a screen of this height has room for.
pub fn room(height: u16) -> usize {
    usize::from(height).saturating_sub(ABOVE + BELOW)
}

const HELP: &[&str] = &[
    "  arrows j k PgUp PgDn Home End   move",
    "  Enter                           into a process, then a function's callers",
    "  Esc                             back; first clears a filter",
    "  Tab Shift-Tab                   functions, lines, threads, losses of a process",
    "  s >  <                          sort by the next, the previous column (*)",
    "  R                               sort the other way round",
    "  /                               filter: part of a name; lower case finds both",
    "  w +  -                          window: 2, 5, 10, 30, 60 s, since the start",
    "  o                               where threads wait, or use the CPU (--off-cpu)",
    "  space                           hold the screen; sampling goes on",
    "  r                               forget what was counted",
    "  Ctrl-L                          paint the screen anew",
    "  q                               quit",
    "",
    "  CPU%    CPU time in the window, in percent of one core",
    "  WAIT%   time blocked in the window, in percent of one waiting thread",
    "  GIL%    time on a CPU with the GIL, or waiting for it; -: not known",
    "  LOST%   of a process's time, what has no stack",
    "  OWN% TOTAL%   of a process's time, what is at a place, or below it",
    "  THR     threads that used the CPU, or waited, in the window",
];

struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
}

impl Canvas<'_> {
    fn line(&mut self, y: usize, text: &str, style: Style) {
        let width = usize::from(self.area.width);
        let Ok(y) = u16::try_from(y) else { return };
        if y >= self.area.height {
            return;
        }
        // To the end of the line, so that a style has no ragged edge.
        let text = pad(&cut(text, width), width, Align::Left);
        self.buffer.set_stringn(self.area.x, self.area.y + y, text, width, style);
    }
}

/// Draws the screen. `has_colour`: beside bold and reverse, which every terminal has.
pub fn draw(buffer: &mut Buffer, state: &State, page: &Page, status: &Status, has_colour: bool) {
    let area = buffer.area;
    let mut canvas = Canvas { buffer, area };
    let width = usize::from(area.width);
    let height = usize::from(area.height);
    let plain = Style::new();
    let bold = plain.add_modifier(Modifier::BOLD);
    let reverse = plain.add_modifier(Modifier::REVERSED);
    let coloured = |style: Style, colour| if has_colour { style.fg(colour) } else { style };

    canvas.line(0, &status_line(state, page, status), coloured(bold, Color::Cyan));
    canvas.line(1, &second_line(state, page), plain);
    if state.is_help {
        for (index, line) in HELP.iter().enumerate() {
            canvas.line(ABOVE + index, line, plain);
        }
        canvas.line(height.saturating_sub(1), " any key: back", reverse);
        return;
    }
    let shown = state.shown(&page.table);
    let widths = page.table.widths(&shown, width);
    canvas.line(2, &page.table.head(&widths, Some(state.sorted_by())), reverse);
    let room = height.saturating_sub(ABOVE + BELOW);
    for (line, row) in shown.iter().skip(state.cursor.first).take(room).enumerate() {
        let is_selected = state.cursor.first + line == state.cursor.selected;
        let style = if is_selected { coloured(reverse, Color::Green) } else { plain };
        canvas.line(ABOVE + line, &page.table.row(*row, &widths), style);
    }
    if shown.is_empty() && room > 0 {
        let filter = &state.cursor.filter;
        let text = if !filter.is_empty() {
            "nothing matches the filter; Esc clears it"
        } else if state.view == View::Processes {
            "no Python process is running; it appears here when it starts"
        } else {
            match state.shown {
                Shown::Cpu => "no samples in this window: it did not use the CPU",
                Shown::Waits => "nothing in this window: none of its threads waited",
            }
        };
        canvas.line(ABOVE, &format!(" {text}"), plain);
    }
    canvas.line(height.saturating_sub(1), &last_line(state, status, shown.len()), reverse);
}

/// Frequency, cost and losses are always there: first in the line, so that no width cuts them.
fn status_line(state: &State, page: &Page, status: &Status) -> String {
    let Status { host, elapsed, frequency_hz, own_cpu_percent, own_bytes, lost, .. } = status;
    let seconds = elapsed.as_secs();
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let held = if state.is_paused { "HELD " } else { "" };
    let window = window_text(state.window, page.window_ns);
    format!(
        "{held}{clock} {frequency_hz} Hz, own {own_cpu_percent:.1} % {} MB, lost {}, window {window}  {}",
        own_bytes.div_ceil(1 << 20),
        grouped(*lost),
        escape(host)
    )
}

/// The window as it was asked for, and as it is where there is not so much yet.
pub fn window_text(window: Window, window_ns: u64) -> String {
    let is = (window_ns as f64 / 1e9).round() as u64;
    match window {
        Window::All => format!("all {is} s"),
        Window::Seconds(seconds) if u64::from(seconds) <= is => format!("{seconds} s"),
        Window::Seconds(seconds) => format!("{is} of {seconds} s"),
    }
}

fn second_line(state: &State, page: &Page) -> String {
    let noun = if page.processes == 1 { "process" } else { "processes" };
    let mut line = match &state.view {
        View::Processes => {
            let Page { percent, lost_percent, processes, shown, .. } = page;
            let of = shown.name().0;
            format!(
                "{processes} Python {noun}, {percent:.1} % {of}, {lost_percent:.1} % of it without a stack"
            )
        }
        View::Process(_, tab) => {
            let name = |(other, name): &(Tab, &str)| {
                if other == tab { format!("[{name}]") } else { (*name).to_owned() }
            };
            let tabs: Vec<String> = Tab::of(state.shown).iter().map(name).collect();
            format!("{}  {}", tabs.join(" "), escape(&page.title))
        }
        View::Function(..) => escape(&page.title).into_owned(),
    };
    if !state.cursor.filter.is_empty() && state.editing.is_none() {
        line = format!("/{}/ {line}", escape(&state.cursor.filter));
    }
    line
}

fn last_line(state: &State, status: &Status, rows: usize) -> String {
    if state.editing.is_some() {
        return format!(
            " filter: {}_  ({rows} rows; Enter keeps it, Esc does not)",
            escape(&state.cursor.filter)
        );
    }
    let at = if rows == 0 { 0 } else { state.cursor.selected + 1 };
    let keys = match state.view {
        View::Processes => "Enter open  s sort  / filter  w window  space hold  h help  q quit",
        View::Process(..) => "Esc back  Tab next  Enter callers  s sort  / filter  h help  q quit",
        View::Function(..) => "Esc back  Enter callers  s sort  / filter  h help  q quit",
    };
    // For as long as it is told, in place of the keys: a small terminal has no room for both.
    if !status.notice.is_empty() {
        return format!(" {at}/{rows}  {}", escape(&status.notice));
    }
    let more = match status.unsupported {
        0 => String::new(),
        more => format!("  {more} not profiled"),
    };
    format!(" {at}/{rows}  {keys}{more}")
}
