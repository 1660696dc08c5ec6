//! The command line: what the user typed, turned into what the program needs, or into one of the documented exits.

mod capture;
mod doctor;
mod dump;
mod generate;
mod options;
mod output;
mod pages;
mod record;
mod report;
mod talk;
mod targets;
mod top;
mod typed;
mod values;

pub use doctor::DoctorOptions;
pub use dump::{DumpOf, DumpOptions};
pub use generate::{GenerateError, GenerateOptions, generate};
pub use options::Command;
pub use output::Output;
pub use record::RecordOptions;

use crate::exit::Exit;
use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;

/// The program ends here: with help, with the version, or with what is wrong with the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stop {
    pub exit: Exit,
    /// Ends in a newline.
    pub message: String,
    pub to_stderr: bool,
}

/// `args` begins with the name of the program, as `std::env::args_os` does.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Stop> {
    let args: Vec<OsString> = args.into_iter().collect();
    // With a command, whose statuses are small numbers as well, what is ours is told apart.
    let has_command = args.iter().any(|arg| arg == "--");
    let usage = if has_command { Exit::OwnFailure } else { Exit::Usage };
    let typed = typed::Typed::try_parse_from(args).map_err(|error| {
        let exit = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
            _ if has_command => usage,
            _ => Exit::Usage,
        };
        Stop { exit, message: error.render().to_string(), to_stderr: error.use_stderr() }
    })?;
    options::command(typed).map_err(|message| Stop {
        exit: usage,
        message: format!("error: {message}\n\nFor more information, try '--help'.\n"),
        to_stderr: true,
    })
}

#[cfg(test)]
mod tests;
