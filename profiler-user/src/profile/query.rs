//! Questions a report asks of a profile: where did the time go.

use super::{FunctionId, Gil, Location, LocationId, Profile, ThreadId};
use hashbrown::{HashMap, HashSet};

/// One function in the order of its own time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopFunction {
    pub name: String,
    pub file: String,
    /// The function's line with the most own time; its first line where no instruction had a line.
    pub line: u32,
    pub own_ns: u64,
    /// Own time and that of everything it called; a recursive function counts once per sample.
    pub total_ns: u64,
}

/// Where threads waited, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopWait {
    pub name: String,
    pub file: String,
    pub line: u32,
    /// The nearest caller that is not of Python's own library, if the place itself is.
    pub caller: Option<(String, u32)>,
    pub syscall: Option<u16>,
    pub for_gil: bool,
    pub ns: u64,
    pub threads: usize,
}

/// As the paths of Python's own modules go, frozen ones too.
fn is_library(file: &str) -> bool {
    file.is_empty()
        || file.starts_with('<')
        || file.contains("/lib/python3")
        || file.contains("/lib64/python3")
}

impl Profile {
    /// At most `limit` places at which threads waited longest, of a profile of time off CPU.
    pub fn top_waits(&self, limit: usize) -> Vec<TopWait> {
        type Key = (Option<LocationId>, Option<LocationId>, Option<u16>, bool);
        let mut waits: HashMap<Key, (u64, HashSet<ThreadId>)> = HashMap::new();
        let file_of = |location: LocationId| {
            self.string(self.functions()[self.locations()[location.index()].function.index()].file)
        };
        for sample in self.samples() {
            let leaf = self.stack_locations(sample.stack).next();
            let caller = leaf.filter(|leaf| is_library(file_of(*leaf))).and_then(|_| {
                self.stack_locations(sample.stack).find(|location| !is_library(file_of(*location)))
            });
            let key = (leaf, caller, sample.context.syscall, sample.context.gil == Gil::Awaited);
            let (ns, threads) = waits.entry(key).or_default();
            *ns = ns.saturating_add(sample.total.weight_ns);
            threads.insert(sample.thread);
        }
        let mut order: Vec<_> = waits.into_iter().collect();
        // Among equals the smaller ids, so that equal runs print equal tables.
        order.sort_by_key(|(key, (ns, _))| (std::cmp::Reverse(*ns), *key));
        order.truncate(limit);
        let top = |((leaf, caller, syscall, for_gil), (ns, threads)): (Key, (u64, HashSet<ThreadId>))| {
            let place = |location: LocationId| {
                let Location { function, line, .. } = self.locations()[location.index()];
                (self.string(self.functions()[function.index()].name).to_owned(), line)
            };
            let (name, line) = leaf.map(place).unwrap_or_default();
            let file = leaf.map(|leaf| file_of(leaf).to_owned()).unwrap_or_default();
            TopWait {
                name,
                file,
                line,
                caller: caller.map(place),
                syscall,
                for_gil,
                ns,
                threads: threads.len(),
            }
        };
        order.into_iter().map(top).collect()
    }

    /// The function with the most own time, by name.
    pub fn hottest_function(&self) -> Option<&str> {
        let (own_ns, _) = self.own_times();
        // The first among equals, so that equal runs print equal tables.
        let hottest =
            own_ns.iter().enumerate().rev().max_by_key(|&(_, &ns)| ns).filter(|&(_, &ns)| ns > 0)?;
        self.functions().get(hottest.0).map(|function| self.string(function.name))
    }

    /// At most `limit` functions by own time, with their total time.
    pub fn top_functions(&self, limit: usize) -> Vec<TopFunction> {
        let (own_ns, own_by_line) = self.own_times();
        let total_ns = self.total_times();
        let mut order: Vec<usize> = (0..own_ns.len()).filter(|&id| own_ns[id] > 0).collect();
        order.sort_by_key(|&id| std::cmp::Reverse((own_ns[id], total_ns[id])));
        order.truncate(limit);
        let mut hot_lines: HashMap<usize, (u64, u32)> = HashMap::new();
        for (&(function, line), &ns) in own_by_line.iter().filter(|((_, line), _)| *line != 0) {
            let best = hot_lines.entry(function.index()).or_insert((ns, line));
            // Ties go to the smaller line: the map has no order of its own.
            if ns > best.0 || (ns == best.0 && line < best.1) {
                *best = (ns, line);
            }
        }
        let top = |id: usize| {
            let function = self.functions()[id];
            TopFunction {
                name: self.string(function.name).into(),
                file: self.string(function.file).into(),
                line: hot_lines.get(&id).map_or(function.start_line, |hot| hot.1),
                own_ns: own_ns[id],
                total_ns: total_ns[id],
            }
        };
        order.into_iter().map(top).collect()
    }

    fn own_times(&self) -> (Vec<u64>, HashMap<(FunctionId, u32), u64>) {
        let mut own_ns = vec![0u64; self.functions().len()];
        let mut own_by_line = HashMap::new();
        for sample in self.samples() {
            let Some(leaf) = self.stack_locations(sample.stack).next() else { continue };
            let location = self.locations()[leaf.index()];
            let own = &mut own_ns[location.function.index()];
            *own = own.saturating_add(sample.total.weight_ns);
            let line: &mut u64 = own_by_line.entry((location.function, location.line)).or_default();
            *line = line.saturating_add(sample.total.weight_ns);
        }
        (own_ns, own_by_line)
    }

    fn total_times(&self) -> Vec<u64> {
        let mut total_ns = vec![0u64; self.functions().len()];
        // Which sample last counted each function: a recursion counts once.
        let mut counted_by = vec![0u32; self.functions().len()];
        for (mark, sample) in (1u32..).zip(self.samples()) {
            for location in self.stack_locations(sample.stack) {
                let function = self.locations()[location.index()].function.index();
                if std::mem::replace(&mut counted_by[function], mark) != mark {
                    total_ns[function] = total_ns[function].saturating_add(sample.total.weight_ns);
                }
            }
        }
        total_ns
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Context, Gil, Measure, ProcessMeta, Profile};
    use pyunwind::Outcome;

    #[test]
    fn own_and_total_times_with_recursion_and_without_lines() {
        let mut profile = Profile::new(ProcessMeta::default());
        let main = profile.function("main", "/a.py", 1);
        let fib = profile.function("fib", "/a.py", 10);
        let bare = profile.function("bare", "/a.py", 20);
        let main_at = profile.location(main, 3, 0);
        let fib_at = profile.location(fib, 12, 0);
        let fib_hot = profile.location(fib, 13, 0);
        let bare_at = profile.location(bare, 0, 0);
        let thread = profile.thread(1, 0);
        let rows: &[(&[_], u64)] = &[
            (&[fib_hot, fib_at, fib_at, main_at], 50),
            (&[fib_at, main_at], 20),
            (&[main_at], 10),
            (&[bare_at, main_at], 15),
            (&[], 5),
        ];
        for (stack, ns) in rows {
            let stack = profile.stack(stack);
            profile.add(thread, stack, Outcome::Complete, *ns);
        }
        let top: Vec<_> = profile
            .top_functions(5)
            .into_iter()
            .map(|top| (top.name, top.line, top.own_ns, top.total_ns))
            .collect();
        let expected = [("fib", 13, 70, 70), ("bare", 20, 15, 15), ("main", 3, 10, 95)];
        assert_eq!(top, expected.map(|(name, line, own, total)| (name.to_string(), line, own, total)));
        assert_eq!(profile.hottest_function(), Some("fib"));
        assert_eq!(profile.top_functions(1).len(), 1);
        assert_eq!(Profile::new(ProcessMeta::default()).hottest_function(), None);
    }
    #[test]
    fn waits_are_told_by_place_system_call_and_whose_code_it_is() {
        let mut profile = Profile::of(Measure::OFF_CPU, ProcessMeta::default());
        let own = profile.function("work", "/srv/app.py", 1);
        let own = profile.location(own, 7, 0);
        let library = profile.function("wait", "/usr/lib/python3.11/threading.py", 280);
        let library = profile.location(library, 320, 0);
        let (direct, through) = (profile.stack(&[own]), profile.stack(&[library, own]));
        let threads = [profile.thread(1, 0), profile.thread(2, 0)];
        let rows = [
            (0, direct, Some(0), Gil::NotHeld, 10),
            (1, direct, Some(0), Gil::NotHeld, 20),
            (0, direct, Some(0), Gil::Awaited, 5),
            (0, direct, None, Gil::NotHeld, 4),
            (1, through, Some(0), Gil::NotHeld, 100),
        ];
        for (thread, stack, syscall, gil, ns) in rows {
            let context = Context { gil, interpreter: 0, syscall };
            profile.add_in(threads[thread], stack, context, Outcome::Complete, ns);
        }
        let told: Vec<_> = profile
            .top_waits(9)
            .into_iter()
            .map(|wait| {
                (wait.name, wait.line, wait.caller, wait.syscall, wait.for_gil, wait.ns, wait.threads)
            })
            .collect();
        let work = || "work".to_owned();
        let expected = [
            ("wait".to_owned(), 320, Some((work(), 7)), Some(0), false, 100, 1),
            (work(), 7, None, Some(0), false, 30, 2),
            (work(), 7, None, Some(0), true, 5, 1),
            (work(), 7, None, None, false, 4, 1),
        ];
        assert_eq!(told, expected);
        assert_eq!(profile.top_waits(1).len(), 1);
    }
}
