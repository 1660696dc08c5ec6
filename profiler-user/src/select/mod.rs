//! Which processes are sampled: what was asked for, as rules about facts of a process, and what they say of one. Nothing here
//! asks anybody: `pipeline` does, and has the kernel leave out what is not selected before anything is unwound.

mod rules;

pub use rules::{Kind, Pattern, Rules, User};

use crate::reader::Standing;

/// Kinds must all hold; values of one kind are alternatives. An exclusion that holds decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Roots of trees of processes: with all descendants, those to come as well.
    pub trees: Vec<u32>,
    pub only: Rules,
    pub exclude: Rules,
}

/// What is known of a process when it is judged.
pub struct Candidate<'a> {
    pub pid: u32,
    /// As the interpreter states it.
    pub python: &'a str,
    pub standing: &'a Standing,
}

/// Why a process is left out; nothing in it: it is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub missed: Vec<Kind>,
    pub excluded: Option<Kind>,
}

impl Verdict {
    pub fn is_selected(&self) -> bool {
        self.missed.is_empty() && self.excluded.is_none()
    }
}

impl Selection {
    /// Whether no process has to be asked what it is.
    pub fn is_any(&self) -> bool {
        self.only.is_empty() && self.exclude.is_empty()
    }

    /// Whether a process may become selected, or cease to be, without an exec.
    pub fn may_change(&self) -> bool {
        [&self.only, &self.exclude].iter().any(|rules| rules.may_change())
    }

    pub fn judge(&self, candidate: &Candidate<'_>) -> Verdict {
        let says = |rules: &Rules, kind: Kind| rules.says(kind, candidate);
        Verdict {
            missed: Kind::ALL.into_iter().filter(|kind| says(&self.only, *kind) == Some(false)).collect(),
            excluded: Kind::ALL.into_iter().find(|kind| says(&self.exclude, *kind) == Some(true)),
        }
    }

    /// What was asked for, by the names of the options without their dashes.
    pub fn asked(&self) -> Vec<(String, Vec<String>)> {
        let trees = self.trees.iter().map(u32::to_string).collect();
        let only = self.only.asked().map(|(kind, values)| (kind.to_owned(), values));
        let exclude = self.exclude.asked().map(|(kind, values)| (format!("exclude-{kind}"), values));
        let all = [("tree".to_owned(), trees)].into_iter().chain(only).chain(exclude);
        all.filter(|(_, values)| !values.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests;
