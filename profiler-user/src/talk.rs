//! How much is said beside results and errors, and in which colours. Results go to standard output, talk to standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::colour::Colour;

/// As the user wishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Talk {
    pub verbosity: Verbosity,
    pub colour: Colour,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Verbosity {
    /// Results and errors only.
    Quiet,
    #[default]
    Normal,
    /// What is found and decided on the way, too.
    Verbose,
}

impl Talk {
    pub fn is_quiet(self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    pub fn is_verbose(self) -> bool {
        self.verbosity == Verbosity::Verbose
    }

    /// Whether a line that is written over would be seen.
    pub fn is_live(self) -> bool {
        !self.is_quiet() && std::io::stderr().is_terminal()
    }

    /// A line that is fit for a terminal.
    pub fn say(self, line: &str) {
        if !self.is_quiet() {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// The same, for those who asked for more.
    pub fn detail(self, line: &str) {
        if self.is_verbose() {
            self.say(line);
        }
    }
}

/// So often a line is written over.
const AGAIN: Duration = Duration::from_millis(100);

/// A line for a terminal, written over a few times a second: `writing 7 of 300 files`. `None` clears it.
pub fn progress(what: &'static str, all: usize) -> impl FnMut(Option<usize>) + Send {
    let mut told = Instant::now();
    move |files| {
        let mut stderr = std::io::stderr();
        // A terminal that went away is no reason to stop.
        let _ = match files {
            Some(files) if told.elapsed() >= AGAIN => {
                told = Instant::now();
                write!(stderr, "\r\x1b[2K{what} {files} of {all} files").and_then(|()| stderr.flush())
            }
            Some(_) => Ok(()),
            None => write!(stderr, "\r\x1b[2K"),
        };
    }
}
