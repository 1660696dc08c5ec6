//! Frames that stand for what is not there: written at the root of a stack, and known again when a file is read.

use pyunwind::Outcome;

/// A thread that runs no Python code and stood in the kernel.
pub const NATIVE_IN_KERNEL: &str = "<native, in kernel>";

/// The frame that stands at the root of a stack which is not all there.
pub const fn marker(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Complete => None,
        Outcome::Truncated => Some("<truncated>"),
        Outcome::Native => Some("<native>"),
        Outcome::Starting => Some("<starting>"),
        Outcome::Unreadable => Some("<unreadable>"),
        Outcome::Torn => Some("<torn>"),
        Outcome::ThreadNotFound => Some("<thread not found>"),
        Outcome::Unknown => Some("<unknown>"),
    }
}

/// The outcome of a stack whose outermost frame has this name and no file.
pub fn outcome_of_root(name: &str) -> Outcome {
    if name == NATIVE_IN_KERNEL {
        return Outcome::Native;
    }
    let is_it = |outcome: &&Outcome| marker(**outcome) == Some(name);
    Outcome::ALL.iter().find(is_it).copied().unwrap_or(Outcome::Complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_marker_is_known_again() {
        for &outcome in Outcome::ALL {
            assert_eq!(outcome_of_root(marker(outcome).unwrap_or("main")), outcome);
        }
        assert_eq!(outcome_of_root(NATIVE_IN_KERNEL), Outcome::Native);
        assert_eq!(outcome_of_root(""), Outcome::Complete);
    }
}
