//! The `pyprof-bpf` binary: the command line in, an exit code out.

use std::io::Write;
use std::process::ExitCode;

use profiler_user::cli::{self, Command, Stop};
use profiler_user::exit::{Exit, Failure};
use profiler_user::{doctor, dump, reader, record, report, top};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == reader::ARGUMENT) {
        reader::serve::run();
        return Exit::Ok.into();
    }
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(Stop { exit, message, to_stderr }) => {
            let written = if to_stderr {
                std::io::stderr().write_all(message.as_bytes())
            } else {
                std::io::stdout().write_all(message.as_bytes()).and_then(|()| std::io::stdout().flush())
            };
            // Who reads may have read enough; a full disk has not.
            let is_lost = written.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe);
            return if is_lost && exit == Exit::Ok { Exit::Other.into() } else { exit.into() };
        }
    };
    let result = match &command {
        Command::Doctor(options) => doctor::doctor(options).map_err(Failure::from),
        Command::Generate(options) => cli::generate(options).map_err(Failure::from),
        Command::Record(options) => match record::record(options) {
            // Of the command that was profiled.
            Ok(status) => return ExitCode::from(status),
            Err(error) => Err(Failure::from(error)),
        },
        Command::Report(options) => report::report(options).map_err(Failure::from),
        Command::Dump(options) => dump::dump(options).map_err(Failure::from),
        Command::Top(options) => top::top(options).map_err(Failure::from),
    };
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(Failure { exit, message }) => {
            let _ = writeln!(std::io::stderr(), "pyprof-bpf: {message}");
            exit.into()
        }
    }
}
