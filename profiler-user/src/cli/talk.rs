//! What every command takes that says something.

use super::values;
use crate::colour::Colour;
use crate::talk::{Talk, Verbosity};
use clap::Args;

#[derive(Args, Debug)]
pub(super) struct TypedTalk {
    /// Print results and errors only
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Print what is found and decided on the way
    #[arg(short, long)]
    verbose: bool,

    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = values::colour)]
    color: Colour,
}

pub(super) fn talk(typed: TypedTalk) -> Talk {
    let TypedTalk { quiet, verbose, color: colour } = typed;
    let verbosity = match (quiet, verbose) {
        (true, _) => Verbosity::Quiet,
        (false, true) => Verbosity::Verbose,
        (false, false) => Verbosity::Normal,
    };
    Talk { verbosity, colour }
}
