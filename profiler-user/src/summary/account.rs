//! The two lines of account: what was captured of what there was, and what that cost.

use super::columns::percent;
use crate::profile::{OwnCost, Profile, Total};
use pyunwind::Outcome;

/// The sum over all processes.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Beside `Outcome::ALL`, by the same index.
    pub outcomes: [Total; Outcome::ALL.len()],
    /// CPU time of Python processes that is in no profile: ticks that were lost, dropped or never fired.
    pub missing_ns: u64,
}

impl Account {
    /// Adds what another one has.
    pub fn merge(&mut self, other: &Account) {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, total)| sum.merge(total));
        self.missing_ns = self.missing_ns.saturating_add(other.missing_ns);
    }

    /// `missing_ns`: beyond what the memory cap dropped, which the profiles know themselves.
    pub fn of<'a>(profiles: impl IntoIterator<Item = &'a Profile>, missing_ns: u64) -> Self {
        let mut account = Self { missing_ns, ..Self::default() };
        for profile in profiles {
            for (sum, (_, total)) in account.outcomes.iter_mut().zip(profile.outcomes()) {
                sum.merge(total);
            }
            account.missing_ns = account.missing_ns.saturating_add(profile.dropped().weight_ns);
        }
        account
    }
}

/// `Captured 118.4 of 119.1 s of Python CPU (99.4 %): complete 98.9, truncated 0.3, unreadable 0.2`
///
/// The shares are percents of all Python CPU. Outcomes that did not occur are left out, but never `complete`.
pub fn captured_line(account: &Account) -> String {
    let captured_ns = account.outcomes.iter().fold(0u64, |sum, total| sum.saturating_add(total.weight_ns));
    let all_ns = captured_ns.saturating_add(account.missing_ns);
    let [captured, all] = [captured_ns, all_ns].map(|ns| ns as f64 / 1e9);
    if all_ns == 0 {
        return "Captured 0.0 of 0.0 s of Python CPU".into();
    }
    let shares: Vec<String> = Outcome::ALL
        .iter()
        .zip(&account.outcomes)
        .filter(|(outcome, total)| **outcome == Outcome::Complete || total.samples > 0)
        .map(|(outcome, total)| format!("{} {}", outcome.name(), percent(total.weight_ns, all_ns)))
        .collect();
    let share = percent(captured_ns, all_ns);
    format!("Captured {captured:.1} of {all:.1} s of Python CPU ({share} %): {}", shares.join(", "))
}

/// `pyprof-bpf used 0.31 s CPU, 22 MB + 9 MB kernel`
pub fn cost_line(cost: &OwnCost) -> String {
    let OwnCost { cpu_ns, peak_rss_bytes, kernel_bytes } = *cost;
    let cpu = cpu_ns as f64 / 1e9;
    let [own, kernel] = [peak_rss_bytes, kernel_bytes].map(|bytes| bytes.div_ceil(1024 * 1024));
    format!("pyprof-bpf used {cpu:.2} s CPU, {own} MB + {kernel} MB kernel")
}
