//! What became of each measurement, for people and for logs.

use std::fmt;
use std::time::Duration;

use crate::vm::WHOLE_HOST;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    InBounds,
    OutOfBounds,
    /// It ended before it said anything.
    NotFinished,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::InBounds => "in bounds",
            Outcome::OutOfBounds => "OUT OF BOUNDS",
            Outcome::NotFinished => "NOT FINISHED",
        })
    }
}

/// The module of a measurement whose tests claim what holds whatever else the host does.
const EXACT: &str = "::exact::";

pub(super) struct Row {
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

const TITLE: &str = "measurement";

#[derive(Default)]
pub(super) struct Table(Vec<Row>);

impl Table {
    pub(super) fn add(&mut self, rows: Vec<Row>) {
        self.0.extend(rows);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_in_bounds(&self) -> bool {
        self.count(Outcome::InBounds) == self.0.len()
    }

    /// Whether all holds that a busy host is no excuse for. What did not finish of the binary with such claims may have been
    /// one.
    pub(super) fn is_exact(&self) -> bool {
        !self.0.iter().any(|row| match row.outcome {
            Outcome::InBounds => false,
            Outcome::OutOfBounds => row.name.contains(EXACT),
            Outcome::NotFinished => row.name.starts_with(WHOLE_HOST),
        })
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.0.iter().filter(|row| row.outcome == outcome).count()
    }

    /// `27 in bounds, 1 out of bounds, 0 not finished`.
    pub(super) fn sum(&self) -> String {
        format!(
            "{} in bounds, {} out of bounds, {} not finished",
            self.count(Outcome::InBounds),
            self.count(Outcome::OutOfBounds),
            self.count(Outcome::NotFinished)
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.name.len()).max().unwrap_or(0).max(TITLE.len());
        writeln!(f, "{:<width$}  {:<13}  {:>7}", TITLE, "outcome", "seconds")?;
        for Row { name, outcome, took } in &self.0 {
            writeln!(f, "{name:<width$}  {outcome:<13}  {:>7.1}", took.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_counts_what_it_shows() {
        let mut table = Table::default();
        assert!(table.is_empty() && table.is_in_bounds());
        let row = |name: &str, outcome| Row { name: name.into(), outcome, took: Duration::from_millis(1250) };
        table.add(vec![row("a::b", Outcome::InBounds), row("c", Outcome::OutOfBounds)]);
        assert_eq!(
            table.to_string(),
            "measurement  outcome        seconds\n\
             a::b         in bounds          1.2\n\
             c            OUT OF BOUNDS      1.2\n"
        );
        assert_eq!(table.sum(), "1 in bounds, 1 out of bounds, 0 not finished");
        assert!(!table.is_in_bounds());
    }

    #[test]
    fn only_an_exact_claim_refuses() {
        for (name, outcome, is_exact) in [
            ("whole_host::exact::a", Outcome::InBounds, true),
            ("whole_host::exact::a", Outcome::OutOfBounds, false),
            ("whole_host::throttle::a", Outcome::OutOfBounds, true),
            ("whole_host::(unknown)", Outcome::NotFinished, false),
            ("storm::(unknown)", Outcome::NotFinished, true),
        ] {
            let table = Table(vec![Row { name: name.into(), outcome, took: Duration::ZERO }]);
            assert_eq!(table.is_exact(), is_exact, "{name}: {outcome}");
        }
    }
}
