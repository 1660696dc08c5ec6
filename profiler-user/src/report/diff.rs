//! What grew between two captures, by function or whatever a row stands for.

use super::tally::{By, Row, rows_to_compare};
use crate::profile::Profile;
use hashbrown::HashMap;

/// How the first capture is made comparable to the second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scale {
    /// As if it had lasted as long as the second.
    Duration { before_ns: u64, after_ns: u64 },
    /// Not at all, as asked for.
    Absolute,
    /// Not at all, because a file does not say how long it took.
    Unknown,
}

impl Scale {
    pub fn of(absolute: bool, before_ns: u64, after_ns: u64) -> Scale {
        match (absolute, before_ns, after_ns) {
            (true, ..) => Scale::Absolute,
            (false, 0, _) | (false, _, 0) => Scale::Unknown,
            _ => Scale::Duration { before_ns, after_ns },
        }
    }

    /// A sum of the first capture.
    fn apply(self, value: u64) -> i64 {
        let scaled = match self {
            Scale::Duration { before_ns, after_ns } if before_ns != after_ns => {
                // Rounded; 128 bits hold any product.
                let product = u128::from(value) * u128::from(after_ns) + u128::from(before_ns / 2);
                product / u128::from(before_ns.max(1))
            }
            _ => value.into(),
        };
        i64::try_from(scaled).unwrap_or(i64::MAX)
    }
}

/// A row of both captures. Sums of the first are scaled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub row: Row,
    pub own_before: i64,
    pub own_after: i64,
    pub total_before: i64,
    pub total_after: i64,
}

impl Change {
    pub fn own(&self) -> i64 {
        self.own_after.saturating_sub(self.own_before)
    }

    pub fn total(&self) -> i64 {
        self.total_after.saturating_sub(self.total_before)
    }
}

/// All rows of either, the largest change of own time first, whether up or down.
pub fn diff(before: &Profile, after: &Profile, by: By, scale: Scale) -> Vec<Change> {
    let mut changes: HashMap<(String, String, u32), Change> = HashMap::new();
    let mut entry = |row: Row, is_after: bool| {
        // A function is the same on whatever line it is hot; a process or a thread is not the same by its number.
        let line = if by == By::Line { row.line } else { 0 };
        let change = changes.entry((row.name.clone(), row.file.clone(), line)).or_default();
        let (own, total) = (row.own.weight_ns, row.total.weight_ns);
        if is_after {
            let scale = Scale::Absolute;
            change.own_after = change.own_after.saturating_add(scale.apply(own));
            change.total_after = change.total_after.saturating_add(scale.apply(total));
        } else {
            change.own_before = change.own_before.saturating_add(scale.apply(own));
            change.total_before = change.total_before.saturating_add(scale.apply(total));
        }
        if is_after || change.row.name.is_empty() {
            change.row = row;
        }
    };
    rows_to_compare(before, by).into_iter().for_each(|row| entry(row, false));
    rows_to_compare(after, by).into_iter().for_each(|row| entry(row, true));
    let mut changes: Vec<Change> = changes.into_values().collect();
    let all =
        |change: &Change| [change.own_before, change.own_after, change.total_before, change.total_after];
    changes.retain(|change| all(change) != [0; 4]);
    changes.sort_by(|a, b| {
        let size = |change: &Change| (change.own().unsigned_abs(), change.total().unsigned_abs());
        let (x, y) = (&a.row, &b.row);
        let by_name =
            || x.name.cmp(&y.name).then_with(|| x.file.cmp(&y.file)).then_with(|| x.line.cmp(&y.line));
        size(b).cmp(&size(a)).then_with(by_name)
    });
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::ProcessMeta;
    use pyunwind::Outcome;

    fn profile(rows: &[(&str, u32, u64)]) -> Profile {
        let mut profile = Profile::new(ProcessMeta::default());
        let thread = profile.thread(1, 1);
        for (name, line, ns) in rows {
            let function = profile.function(name, "/a.py", *line);
            let location = profile.location(function, line + 1, 0);
            let stack = profile.stack(&[location]);
            profile.add(thread, stack, Outcome::Complete, *ns);
        }
        profile
    }

    #[test]
    fn a_longer_capture_is_no_growth() {
        let before = profile(&[("same", 10, 100), ("gone", 20, 30), ("grown", 30, 10)]);
        // Twice as long; functions have moved by five lines.
        let after = profile(&[("same", 15, 200), ("grown", 35, 90), ("new", 50, 8)]);
        let rows: [(Scale, &[(&str, i64)]); 3] = [
            (Scale::of(false, 1000, 2000), &[("grown", 70), ("gone", -60), ("new", 8), ("same", 0)]),
            (Scale::of(true, 1000, 2000), &[("same", 100), ("grown", 80), ("gone", -30), ("new", 8)]),
            (Scale::of(false, 0, 2000), &[("same", 100), ("grown", 80), ("gone", -30), ("new", 8)]),
        ];
        for (scale, expected) in rows {
            let changes = diff(&before, &after, By::Function, scale);
            let got: Vec<_> = changes.iter().map(|it| (it.row.name.as_str(), it.own())).collect();
            assert_eq!(got, expected, "{scale:?}");
        }
        assert_eq!(Scale::of(false, 3, u64::MAX).apply(u64::MAX), i64::MAX);
    }
}
