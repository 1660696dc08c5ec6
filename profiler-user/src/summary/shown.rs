//! What the summary shows of processes whose profiles are gone by the time it is printed: as much as it may have room for.

use super::table::Row;
use super::{Account, MAX_ROWS, hottest};
use crate::profile::Profile;

/// Of any number of profiles: the account of all, rows of those with the most CPU time, functions of the first of them.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    pub(super) account: Account,
    pub(super) rows: Vec<Row>,
    /// Rows that there is no room for.
    pub(super) hidden: usize,
    pub(super) hottest: Option<Hottest>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Hottest {
    pub(super) cpu_ns: u64,
    pub(super) text: String,
    pub(super) file: Option<String>,
}

/// Wide enough for any terminal; lines are cut again where they are printed.
const WIDTH: usize = 200;

impl Shown {
    pub fn add(&mut self, profile: &Profile, file: Option<&str>) {
        self.account.merge(&Account::of([profile], 0));
        self.rows.push(Row::of(profile));
        if self.rows.len() > 2 * MAX_ROWS {
            self.rows.sort_by_key(|row| std::cmp::Reverse(row.cpu_ns));
            self.hidden += self.rows.len() - MAX_ROWS;
            self.rows.truncate(MAX_ROWS);
        }
        let cpu_ns = profile.total().weight_ns;
        if self.hottest.as_ref().is_none_or(|hottest| hottest.cpu_ns < cpu_ns) {
            let (text, file) = (hottest(profile, WIDTH), file.map(str::to_owned));
            self.hottest = Some(Hottest { cpu_ns, text, file });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{ProcessMeta, Profile};
    use crate::summary::whole;
    use pyunwind::Outcome;

    fn profile(pid: u32, ns: u64) -> Profile {
        let mut profile =
            Profile::new(ProcessMeta { pid, name: format!("p{pid}"), ..ProcessMeta::default() });
        let function = profile.function(&format!("f{pid}"), "/a.py", 1);
        let location = profile.location(function, 2, 0);
        let stack = profile.stack(&[location]);
        let thread = profile.thread(pid, 0);
        profile.add(thread, stack, Outcome::Complete, ns);
        profile
    }

    #[test]
    fn it_is_the_same_whenever_a_process_was_written() {
        let profiles: Vec<Profile> =
            (1..=150).map(|pid| profile(pid, u64::from(pid * 7919 % 151) * 10_000_000)).collect();
        let cost = Default::default();
        let names: Vec<String> = (1..=150).map(|pid| format!("p{pid}.pb.gz")).collect();
        let all: Vec<_> = profiles.iter().zip(names.iter().map(|name| Some(name.as_str()))).collect();
        let path = std::path::Path::new("out");
        let at_once = whole(
            all.iter().copied(),
            &Shown::default(),
            5,
            Vec::new(),
            &cost,
            (path, crate::encode::Format::Pprof),
            100,
        );
        for early in [1, 40, 41, 100, 150] {
            let mut shown = Shown::default();
            all[..early].iter().for_each(|(profile, file)| shown.add(profile, *file));
            assert!(shown.rows.len() <= 2 * MAX_ROWS);
            assert_eq!(
                whole(
                    all[early..].iter().copied(),
                    &shown,
                    5,
                    Vec::new(),
                    &cost,
                    (path, crate::encode::Format::Pprof),
                    100
                ),
                at_once,
                "{early}"
            );
        }
    }
}
