//! Exit codes: a promise to scripts. Append, never renumber.

use std::process::{ExitCode, Termination};

macro_rules! exits {
    ($($variant:ident = $code:literal, $meaning:literal;)*) => {
        /// How the program ends.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Exit { $($variant = $code,)* }

        impl Exit {
            pub const ALL: &[Exit] = &[$(Exit::$variant,)*];

            /// One line for `--help`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Exit::$variant => $meaning,)* }
            }

            /// The section of `--help` that documents the codes.
            pub const HELP: &str = concat!(
                "Exit codes:\n",
                $("  ", $code, "  ", $meaning, "\n",)*
            );
        }
    };
}

exits! {
    Ok = 0, "profiles were written";
    Other = 1, "something else went wrong; the message says what";
    Usage = 2, "the command line is not understood";
    NoPrivilege = 3, "a privilege is missing; the message names the capability or sysctl";
    TargetGone = 4, "the process given by --pid does not exist or is gone";
    Unsupported = 5, "the process given by --pid is not a supported CPython; the message says what it is";
    NothingSampled = 6, "no Python process ran, or none used the CPU";
    HostUnsupported = 7, "the host is not supported; the message says why";
}

impl Exit {
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_documented_in_order() {
        for (code, exit) in Exit::ALL.iter().enumerate() {
            assert_eq!(usize::from(exit.code()), code);
            assert!(Exit::HELP.contains(&format!("  {code}  {}\n", exit.meaning())));
        }
    }
}
