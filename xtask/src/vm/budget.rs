//! What the verifier may count: a file of the counts that were accepted, by series and program. Kernels of a series differ a
//! little, and so may the counts; a tenth more is a change that somebody has to look at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::arch::Arch;
use super::report::Report;

pub(super) const FILE: &str = "xtask/src/vm/budget.json";
const TOLERATED_PERCENT: u64 = 10;

type Budget = BTreeMap<String, BTreeMap<String, u64>>;

/// What is more than the budget allows, or not in it.
pub(super) fn over(file: &Path, arch: &Arch, reports: &[Report]) -> Result<Vec<String>> {
    let budget = load(file)?;
    Ok(reports.iter().flat_map(|report| over_of(&budget, &key(arch, report), &report.counts)).collect())
}

fn load(file: &Path) -> Result<Budget> {
    let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    serde_json::from_str(&text).context("the budget is no such JSON")
}

/// The series, after the machine's name where that is not the one that most hosts are.
fn key(arch: &Arch, report: &Report) -> String {
    if arch.name == "x86_64" { report.series.to_owned() } else { format!("{} {}", arch.name, report.series) }
}

fn over_of(budget: &Budget, series: &str, counts: &BTreeMap<String, u64>) -> Vec<String> {
    let empty = BTreeMap::new();
    let allowed = budget.get(series).unwrap_or(&empty);
    let judge = |(program, count): (&String, &u64)| match allowed.get(program) {
        None => Some(format!("{series}, {program}: {count} instructions, and no budget")),
        Some(of) if count * 100 > of * (100 + TOLERATED_PERCENT) => {
            Some(format!("{series}, {program}: {count} instructions, {of} are in the budget"))
        }
        Some(_) => None,
    };
    let gone = |program: &&String| !counts.contains_key(*program);
    let missing = allowed.keys().filter(gone).map(|program| format!("{series}, {program}: was not loaded"));
    counts.iter().filter_map(judge).chain(missing).collect()
}

/// Replaces what the reports are of.
pub(super) fn save(file: &Path, arch: &Arch, reports: &[Report]) -> Result<()> {
    let mut budget = load(file)?;
    budget.extend(reports.iter().map(|report| (key(arch, report), report.counts.clone())));
    let text = serde_json::to_string_pretty(&budget).context("failed to write the budget as JSON")?;
    fs::write(file, text + "\n").with_context(|| format!("failed to write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_more_is_tolerated_and_nothing_is_unknown_or_missing() {
        let of = |counts: &[(&str, u64)]| -> BTreeMap<String, u64> {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let budget: Budget = [("6.1".to_owned(), of(&[("a", 1000)]))].into();
        let check = |series, counts: &[(&str, u64)], expected: usize| {
            assert_eq!(over_of(&budget, series, &of(counts)).len(), expected, "{series} {counts:?}");
        };
        check("6.1", &[("a", 1000)], 0);
        check("6.1", &[("a", 1100)], 0);
        check("6.1", &[("a", 1101)], 1);
        check("6.1", &[("a", 1), ("b", 1)], 1);
        check("6.1", &[], 1);
        check("5.10", &[("a", 1000)], 1);
    }
}
