//! The `pyprof-bpf` binary: the command line in, an exit code out.

use std::io::Write;
use std::process::ExitCode;

use profiler_user::cli::{self, Command, Stop};
use profiler_user::exit::Exit;
use profiler_user::record;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(Stop { exit, message, to_stderr }) => {
            // Nobody is left to tell when the terminal is gone.
            let _ = if to_stderr {
                std::io::stderr().write_all(message.as_bytes())
            } else {
                std::io::stdout().write_all(message.as_bytes())
            };
            return exit.into();
        }
    };
    let result = match &command {
        Command::Record(options) => record::record(options),
    };
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "pyprof-bpf: {error}");
            error.exit().into()
        }
    }
}
