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
    Ok = 0, "all went well: what was asked for is written";
    Other = 1, "something else went wrong; the message says what";
    Usage = 2, "the command line is not understood";
    NoPrivilege = 3, "a privilege is missing; the message names the capability or sysctl";
    TargetGone = 4, "the process given by --pid or --tree does not exist or is gone";
    Unsupported = 5, "the process given by --pid is not a supported CPython; the message says what it is";
    NothingSampled = 6, "no Python process ran, or none used the CPU";
    HostUnsupported = 7, "the host is not supported; the message says why";
    HostProblem = 8, "doctor has found a problem that keeps a capture from beginning";
    BadProfile = 9, "a file given to report cannot be read, or is no profile; the others were reported";
    OwnFailure = 125, "with -- COMMAND: the profiler failed (else the status is the command's, 128+N if signal N ended it)";
    CannotRun = 126, "with -- COMMAND: it was found and could not be run";
    NotFound = 127, "with -- COMMAND: it was not found";
}

impl Exit {
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// With a command to profile, as `env` and `timeout` have it: what failed is the profiler; the command was there and could
/// not be run; it was not there. Else the status is the command's.
pub const OWN_FAILURE: u8 = Exit::OwnFailure.code();
pub const CANNOT_RUN: u8 = Exit::CannotRun.code();
pub const NOT_FOUND: u8 = Exit::NotFound.code();

/// Why a command ended without doing its work: what scripts see, and what people read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
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
            assert!(code == 0 || exit.code() > Exit::ALL[code - 1].code());
            let code = exit.code();
            assert!(Exit::HELP.contains(&format!("  {code}  {}\n", exit.meaning())));
        }
    }
}
