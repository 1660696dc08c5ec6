//! The commands, settled from what was typed.

use super::doctor::{DoctorOptions, doctor};
use super::dump::{DumpOptions, dump};
use super::generate::{self, GenerateOptions};
use super::record::{RecordOptions, record};
use super::report::report;
use super::top::top;
use super::typed::{Typed, TypedCommand};
use crate::report::ReportOptions;

use crate::top::TopOptions;

#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    Doctor(DoctorOptions),
    Generate(GenerateOptions),
    Record(RecordOptions),
    Report(Box<ReportOptions>),
    Dump(DumpOptions),
    Top(TopOptions),
}

pub(super) fn command(typed: Typed) -> Result<Command, String> {
    let Typed { command, record: without } = typed;
    match command {
        None => record(without).map(Command::Record),
        Some(TypedCommand::Doctor(typed)) => Ok(Command::Doctor(doctor(typed))),
        Some(TypedCommand::Generate(typed)) => Ok(Command::Generate(generate::options(typed))),
        Some(TypedCommand::Record(typed)) => record(typed).map(Command::Record),
        Some(TypedCommand::Report(typed)) => report(*typed).map(Box::new).map(Command::Report),
        Some(TypedCommand::Dump(typed)) => Ok(Command::Dump(dump(typed))),
        Some(TypedCommand::Top(typed)) => top(typed).map(Command::Top),
    }
}
