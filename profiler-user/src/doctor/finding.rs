//! One finding: what was looked at, how it stands, and what would mend it.

use crate::colour::Ink;
use serde::Serialize;

/// How it stands, from good to bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It could not be looked at.
    Unseen,
    /// A capture can begin, and something about it is worse than it could be.
    Warning,
    /// No capture can begin.
    Problem,
}

impl Level {
    pub const fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Unseen => "unseen",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    pub about: &'static str,
    pub level: Level,
    /// May hold text of a target: escaped where it is printed.
    pub what: String,
    /// One line.
    pub fix: Option<String>,
    /// All of what the kernel said, of which `what` has the first line: the verifier's log has many.
    pub detail: Option<String>,
}

/// The level with which a line of a report begins.
pub(super) fn mark(line: &str) -> Option<(usize, Ink)> {
    let begins = |level: &Level| line.split_whitespace().next().is_some_and(|word| word == level.name());
    let level = [Level::Ok, Level::Unseen, Level::Warning, Level::Problem].into_iter().find(begins)?;
    let ink = match level {
        Level::Ok => Ink::Green,
        Level::Problem => Ink::Red,
        Level::Warning | Level::Unseen => Ink::Yellow,
    };
    line.starts_with(level.name()).then_some((level.name().len(), ink))
}

/// A finding that is about to be judged.
pub(super) struct About(&'static str);

impl Finding {
    pub(super) fn about(about: &'static str) -> About {
        About(about)
    }

    /// `said` beside its first line, where there is more.
    pub(super) fn with_detail(mut self, said: &str) -> Finding {
        self.detail = (!self.what.ends_with(said.trim_end())).then(|| said.trim_end().to_owned());
        self
    }
}

impl About {
    pub(super) fn ok(self, what: String) -> Finding {
        Finding { about: self.0, level: Level::Ok, what, fix: None, detail: None }
    }

    pub(super) fn unseen(self, what: String) -> Finding {
        Finding { about: self.0, level: Level::Unseen, what, fix: None, detail: None }
    }

    /// What could be seen by who follows the advice.
    pub(super) fn unseen_unless(self, what: String, fix: impl Into<String>) -> Finding {
        Finding { about: self.0, level: Level::Unseen, what, fix: Some(fix.into()), detail: None }
    }

    pub(super) fn warning(self, what: String, fix: impl Into<String>) -> Finding {
        Finding { about: self.0, level: Level::Warning, what, fix: Some(fix.into()), detail: None }
    }

    pub(super) fn problem(self, what: String, fix: impl Into<String>) -> Finding {
        Finding { about: self.0, level: Level::Problem, what, fix: Some(fix.into()), detail: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_painted_where_it_begins_a_line() {
        for level in [Level::Ok, Level::Unseen, Level::Warning, Level::Problem] {
            let marked = mark(&format!("{:<7}  kernel  {}\n", level.name(), level.name()));
            assert_eq!(marked.map(|(bytes, _)| bytes), Some(level.name().len()), "{level:?}");
            assert_eq!(mark(&format!("  {}", level.name())), None);
        }
        assert_eq!(mark("okay\n"), None);
        assert_eq!(mark("\n"), None);
    }
}
