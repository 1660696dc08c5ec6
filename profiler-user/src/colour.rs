//! Colours in what is printed, where a terminal shows it and nobody objects.

use std::io::{self, IsTerminal};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR says otherwise.
    #[default]
    Auto,
    Always,
    Never,
}

impl Colour {
    /// For standard output.
    pub fn is_wanted(self) -> bool {
        self.is_wanted_on(&io::stdout())
    }

    pub fn is_wanted_on(self, output: &impl IsTerminal) -> bool {
        match self {
            Colour::Always => true,
            Colour::Never => false,
            // https://no-color.org: present and not empty.
            Colour::Auto => {
                let objects = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                !objects && !is_dumb && output.is_terminal()
            }
        }
    }
}

/// Parameters of `SGR` (ECMA-48, 8.3.117).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ink {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// `text`, which is fit for a terminal already, with the part of each line that `mark` says in colour: how many bytes from its
/// beginning.
pub fn paint(text: &str, mark: impl Fn(&str) -> Option<(usize, Ink)>) -> String {
    let line =
        |line: &str| match mark(line).and_then(|(bytes, ink)| Some((line.split_at_checked(bytes)?, ink))) {
            Some(((marked, rest), ink)) => format!("\x1b[{}m{marked}\x1b[0m{rest}", ink as u8),
            None => line.to_owned(),
        };
    text.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_painted_and_nothing_is_lost() {
        let mark = |line: &str| match line.split_once(':') {
            Some((head, _)) => Some((head.len(), Ink::Bold)),
            None => line.starts_with("bad").then_some((99, Ink::Red)),
        };
        assert_eq!(paint("a: b\n\nplain\nbad\n", mark), "\x1b[1ma\x1b[0m: b\n\nplain\nbad\n");
        assert!(Colour::Always.is_wanted() && !Colour::Never.is_wanted());
    }
}
