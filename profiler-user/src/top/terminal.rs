//! The terminal while the live view has it: raw, on its other screen, and given back however the program ends.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, MoveTo, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::force_color_output;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::draw::{Status, draw};
use super::pages::Page;
use super::state::State;
use super::unasked::Unasked;

/// Whether the terminal is ours now: a panic gives it back, too.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Why nothing can be drawn here, in words that name what can be done instead.
pub fn refusal() -> Option<String> {
    let instead = "use top --batch, or record";
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Some(format!("top draws on a terminal, and standard input or output is none: {instead}"));
    }
    let name = std::env::var("TERM").unwrap_or_default();
    match name.as_str() {
        "" => Some(format!("TERM is not set, so the kind of terminal is not known: {instead}")),
        "dumb" | "unknown" => Some(format!("a terminal of kind {name} cannot place its cursor: {instead}")),
        _ => None,
    }
}

pub struct Screen {
    terminal: Terminal<Unasked>,
    has_colour: bool,
}

impl Screen {
    /// Takes the terminal.
    pub fn take(has_colour: bool) -> io::Result<Screen> {
        // NO_COLOR was heeded by whoever decided; bold and reverse are no colours.
        force_color_output(true);
        give_back_on_panic();
        enter()?;
        let terminal =
            Terminal::new(Unasked(CrosstermBackend::new(io::stdout()))).inspect_err(|_| leave())?;
        let mut screen = Screen { terminal, has_colour };
        screen.repaint()?;
        Ok(screen)
    }

    /// Draws; has `state` follow what is selected.
    pub fn show(&mut self, state: &mut State, page: &Page, status: &Status) -> io::Result<()> {
        let has_colour = self.has_colour;
        self.terminal.draw(|frame| {
            let shown = state.shown(&page.table);
            state.settle(&page.table, &shown, super::draw::room(frame.area().height));
            draw(frame.buffer_mut(), state, page, status, has_colour);
        })?;
        Ok(())
    }

    pub fn height(&self) -> u16 {
        self.terminal.size().map_or(24, |size| size.height)
    }

    /// Has the next drawing paint everything.
    pub fn repaint(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Gives the terminal back, stops like any program that Ctrl-Z was pressed for, and goes on when it is told to.
    pub fn suspend(&mut self) -> io::Result<()> {
        leave();
        // SAFETY: sends a signal to this process.
        unsafe { libc::raise(libc::SIGSTOP) };
        enter()?;
        self.terminal.autoresize()?;
        self.repaint()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    IS_TAKEN.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, Hide).inspect_err(|_| leave())
}

/// A terminal that is gone needs nothing.
fn leave() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        // The Linux console has no other screen: nothing may be left behind there.
        let _ = execute!(io::stdout(), Clear(ClearType::All), MoveTo(0, 0), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

/// Before the message of the panic, which would else be on the screen that goes away.
fn give_back_on_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |what| {
            leave();
            usual(what);
        }));
    });
}

/// Standard input, to be waited for without changing it for others that have it open.
pub struct Input(OwnedFd);

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Input {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Input {
    pub fn open() -> io::Result<Input> {
        io::stdin().as_fd().try_clone_to_owned().map(Input)
    }

    /// What was typed; nothing where nothing was, `None` where nothing can be any more.
    pub fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        let fd = self.as_raw_fd();
        let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        if unsafe { libc::poll(&mut ready, 1, 0) } <= 0 {
            return Some(0);
        }
        // SAFETY: a valid buffer of this length.
        let read = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        match read {
            0 => None,
            read if read > 0 => Some(read as usize),
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Some(0),
            _ => None,
        }
    }
}
