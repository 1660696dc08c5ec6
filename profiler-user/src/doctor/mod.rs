//! `doctor`: says of this host whether a capture can begin and what would mend it, before anybody needs one.
//!
//! `gather` asks the host, `judge` thinks, `show` prints. Only the first needs a host, and none of them a privilege.

mod facts;
mod finding;
mod gather;
mod judge;
mod show;
mod tried;

use std::io::Write;

use crate::capture::{CaptureError, event_loop};
use crate::cli::DoctorOptions;
use crate::colour::paint;
use crate::exit::{Exit, Failure};
use finding::Level;

#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error("{}: no capture can begin on this host; the report says what would mend it", problems(*.0))]
    Problems(usize),
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error("failed to write the report: {0}")]
    Output(#[from] std::io::Error),
}

fn problems(number: usize) -> String {
    if number == 1 { "1 problem".into() } else { format!("{number} problems") }
}

impl From<DoctorError> for Failure {
    fn from(error: DoctorError) -> Failure {
        let exit = match &error {
            DoctorError::Problems(_) => Exit::HostProblem,
            DoctorError::Capture(error) => error.exit(),
            DoctorError::Output(_) => Exit::Other,
        };
        Failure { exit, message: error.to_string() }
    }
}

/// Looks at the host and prints what it found.
pub fn doctor(options: &DoctorOptions) -> Result<(), DoctorError> {
    // Rings are made for a loop to wait on, though nobody waits here.
    let runtime = event_loop()?;
    let facts = {
        let _entered = runtime.enter();
        gather::gather(options.btf.as_ref())
    };
    let findings = judge::judge(&facts);
    let text = if options.json {
        show::json(&facts, &findings)
    } else {
        let text = show::text(&gather::title(&facts), &facts, &findings, options.talk.verbosity);
        if options.talk.colour.is_wanted() { paint(&text, finding::mark) } else { text }
    };
    std::io::stdout().write_all(text.as_bytes())?;
    match findings.iter().filter(|finding| finding.level == Level::Problem).count() {
        0 => Ok(()),
        number => Err(DoctorError::Problems(number)),
    }
}
