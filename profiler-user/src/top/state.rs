//! What a person has chosen: the view, the row, the order, the filter, the window. Keys change it; nothing here draws or
//! reads anything.

use super::history::{Shown, Window};
use super::keys::Key;
use super::pages::{FunctionName, Page, function_of};
use super::table::{Sort, Table};

/// The windows to choose from.
pub const WINDOWS: [Window; 6] = [
    Window::Seconds(2),
    Window::Seconds(5),
    Window::Seconds(10),
    Window::Seconds(30),
    Window::Seconds(60),
    Window::All,
];
/// Characters of a filter.
const MAX_FILTER: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tab {
    Functions,
    Lines,
    Threads,
    Syscalls,
    Losses,
}

impl Tab {
    const ALL: [(Tab, &'static str); 5] = [
        (Tab::Functions, "functions"),
        (Tab::Lines, "lines"),
        (Tab::Threads, "threads"),
        (Tab::Losses, "losses"),
        (Tab::Syscalls, "syscalls"),
    ];

    /// Those that there are: only who waits does so in a system call that is known.
    pub fn of(shown: Shown) -> &'static [(Tab, &'static str)] {
        match shown {
            Shown::Cpu => &Self::ALL[..4],
            Shown::Waits => &Self::ALL,
        }
    }

    fn next(self, shown: Shown, forward: bool) -> Tab {
        let all = Tab::of(shown);
        let at = all.iter().position(|(tab, _)| *tab == self).unwrap_or(0);
        all[(at + if forward { 1 } else { all.len() - 1 }) % all.len()].0
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum View {
    Processes,
    /// By `Process::id`.
    Process(u64, Tab),
    Function(u64, FunctionName),
}

/// Where one is in a view.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// Position among the rows that are shown.
    pub selected: usize,
    /// What is selected: it stays selected wherever it goes. None: the row, whatever is in it.
    ident: Option<String>,
    /// The first row on the screen.
    pub first: usize,
    pub sort: Option<Sort>,
    pub filter: String,
}

/// What a key asks of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    None,
    /// What is shown has to be made anew.
    Refresh,
    Pause,
    Resume,
    Reset,
    /// The other measure is to be shown.
    Exchange,
    /// The terminal may hold something else.
    Repaint,
    Suspend,
    Quit,
}

pub struct State {
    pub shown: Shown,
    pub view: View,
    /// Views that one came by, and where one was in them.
    before: Vec<(View, Cursor)>,
    pub cursor: Cursor,
    pub window: Window,
    pub is_paused: bool,
    pub is_help: bool,
    /// A filter that is being typed, and the one before it.
    pub editing: Option<String>,
}

impl State {
    pub fn new(window: Window, shown: Shown) -> State {
        State {
            shown,
            view: View::Processes,
            before: Vec::new(),
            cursor: Cursor::default(),
            window,
            is_paused: false,
            is_help: false,
            editing: None,
        }
    }

    /// The rows that are shown, in their order.
    pub fn shown(&self, table: &Table) -> Vec<usize> {
        table.shown(&self.cursor.filter, self.cursor.sort)
    }

    /// Follows what is selected, and has it on the screen, which has room for `height` rows.
    pub fn settle(&mut self, table: &Table, shown: &[usize], height: usize) {
        let cursor = &mut self.cursor;
        if let Some(ident) = &cursor.ident {
            match shown.iter().position(|row| table.rows[*row].ident == *ident) {
                Some(position) => cursor.selected = position,
                None => cursor.ident = None,
            }
        }
        cursor.selected = cursor.selected.min(shown.len().saturating_sub(1));
        let last_first = shown.len().saturating_sub(height);
        cursor.first = cursor.first.min(cursor.selected).min(last_first);
        if height > 0 && cursor.selected >= cursor.first + height {
            cursor.first = cursor.selected + 1 - height;
        }
    }

    /// `height`: rows on the screen.
    pub fn press(&mut self, key: Key, page: &Page, height: usize) -> Action {
        match key {
            Key::Interrupt => return Action::Quit,
            Key::Suspend => return Action::Suspend,
            Key::Repaint => return Action::Repaint,
            _ => {}
        }
        if self.editing.is_some() {
            return self.edit(key);
        }
        if self.is_help {
            self.is_help = false;
            return if key == Key::Char('q') { Action::Quit } else { Action::None };
        }
        let shown = self.shown(&page.table);
        match key {
            Key::Char('q') => return Action::Quit,
            Key::Char('h' | '?') => self.is_help = true,
            Key::Char('/') => self.editing = Some(std::mem::take(&mut self.cursor.filter)),
            Key::Char(' ') => {
                self.is_paused = !self.is_paused;
                return if self.is_paused { Action::Pause } else { Action::Resume };
            }
            Key::Char('r') => return Action::Reset,
            Key::Char('o') => return Action::Exchange,
            Key::Char('w' | '+') => return self.change_window(1),
            Key::Char('-') => return self.change_window(WINDOWS.len() - 1),
            Key::Char('s' | '>') => self.sort_by(page, 1),
            Key::Char('<') => self.sort_by(page, page.table.columns.len() - 1),
            Key::Char('R') => {
                let sort =
                    self.cursor.sort.get_or_insert(Sort { column: self.default_sort(), reversed: false });
                sort.reversed = !sort.reversed;
            }
            Key::Down | Key::Char('j') => self.go(page, &shown, |at| at + 1),
            Key::Up | Key::Char('k') => self.go(page, &shown, |at| at.saturating_sub(1)),
            Key::PageDown => self.go(page, &shown, |at| at + height.max(1)),
            Key::PageUp => self.go(page, &shown, |at| at.saturating_sub(height.max(1))),
            Key::Home | Key::Char('g') => self.go(page, &shown, |_| 0),
            Key::End | Key::Char('G') => self.go(page, &shown, |_| usize::MAX),
            Key::Enter | Key::Right | Key::Char('l') => return self.enter(page, &shown),
            Key::Escape | Key::Left | Key::Backspace => return self.leave(),
            Key::Tab => return self.turn_tab(true),
            Key::BackTab => return self.turn_tab(false),
            Key::Char(_) | Key::Interrupt | Key::Suspend | Key::Repaint => {}
        }
        Action::None
    }

    fn edit(&mut self, key: Key) -> Action {
        match key {
            Key::Enter => self.editing = None,
            Key::Escape => self.cursor.filter = self.editing.take().unwrap_or_default(),
            Key::Backspace => {
                self.cursor.filter.pop();
            }
            // What is typed is shown, too.
            Key::Char(c) if !c.is_control() && self.cursor.filter.chars().count() < MAX_FILTER => {
                self.cursor.filter.push(c);
            }
            _ => {}
        }
        Action::None
    }

    fn go(&mut self, page: &Page, shown: &[usize], to: impl Fn(usize) -> usize) {
        self.cursor.selected = to(self.cursor.selected).min(shown.len().saturating_sub(1));
        // The top row stands for what is on top.
        self.cursor.ident = match shown.get(self.cursor.selected) {
            Some(row) if self.cursor.selected > 0 => Some(page.table.rows[*row].ident.clone()),
            _ => None,
        };
    }

    /// The column that a table is sorted by where nothing else is asked for: the first one is a number, and in two views it
    /// only says who it is.
    fn default_sort(&self) -> usize {
        match self.view {
            View::Processes | View::Process(_, Tab::Threads) => 1,
            View::Process(..) | View::Function(..) => 0,
        }
    }

    /// What the table is sorted by, asked for or not.
    pub fn sorted_by(&self) -> Sort {
        self.cursor.sort.unwrap_or(Sort { column: self.default_sort(), reversed: false })
    }

    fn sort_by(&mut self, page: &Page, by: usize) {
        let column = (self.sorted_by().column + by) % page.table.columns.len().max(1);
        self.cursor.sort = Some(Sort { column, reversed: false });
    }

    fn change_window(&mut self, by: usize) -> Action {
        // One that was given on the command line is none of these: the next is the first that is longer.
        let at = WINDOWS.iter().position(|window| *window == self.window);
        let at = at.unwrap_or_else(|| {
            let length = |window: Window| match window {
                Window::Seconds(seconds) => seconds,
                Window::All => u32::MAX,
            };
            let longer = WINDOWS.iter().position(|window| length(*window) > length(self.window));
            longer.unwrap_or(0) + WINDOWS.len() - usize::from(by == 1)
        });
        self.window = WINDOWS[(at + by) % WINDOWS.len()];
        Action::Refresh
    }

    fn enter(&mut self, page: &Page, shown: &[usize]) -> Action {
        let Some(row) = shown.get(self.cursor.selected).and_then(|row| page.table.rows.get(*row)) else {
            return Action::None;
        };
        let to = match &self.view {
            View::Processes => row.ident.parse().ok().map(|id| View::Process(id, Tab::Functions)),
            View::Process(id, Tab::Functions | Tab::Lines) | View::Function(id, _) => {
                function_of(&row.ident).map(|function| View::Function(*id, function))
            }
            View::Process(_, Tab::Threads | Tab::Syscalls | Tab::Losses) => None,
        };
        let Some(to) = to else { return Action::None };
        let view = std::mem::replace(&mut self.view, to);
        self.before.push((view, std::mem::take(&mut self.cursor)));
        // From caller to caller one may go on for ever: the way back is as long as this.
        if self.before.len() > 64 {
            self.before.remove(2);
        }
        Action::Refresh
    }

    fn leave(&mut self) -> Action {
        if !self.cursor.filter.is_empty() {
            self.cursor.filter.clear();
            return Action::None;
        }
        match self.before.pop() {
            Some((view, cursor)) => {
                (self.view, self.cursor) = (view, cursor);
                Action::Refresh
            }
            None => Action::None,
        }
    }

    /// Shows the other measure; of the process that one is in, which has this number there, if it is there.
    pub fn exchange(&mut self, id: Option<u64>) {
        self.shown = self.shown.other();
        let list =
            (View::Processes, self.before.first().map(|(_, cursor)| cursor.clone()).unwrap_or_default());
        self.before.clear();
        self.cursor.ident = None;
        self.view = match (&self.view, id) {
            (View::Process(_, tab), Some(id)) => {
                let tab = Tab::of(self.shown).iter().find(|(other, _)| other == tab);
                View::Process(id, tab.map_or(Tab::Functions, |(tab, _)| *tab))
            }
            (View::Function(_, function), Some(id)) => View::Function(id, function.clone()),
            (View::Processes, _) | (_, None) => View::Processes,
        };
        if self.view != View::Processes {
            self.before.push(list);
        }
    }

    fn turn_tab(&mut self, forward: bool) -> Action {
        let View::Process(id, tab) = self.view else { return Action::None };
        self.view = View::Process(id, tab.next(self.shown, forward));
        self.cursor = Cursor::default();
        Action::Refresh
    }
}
