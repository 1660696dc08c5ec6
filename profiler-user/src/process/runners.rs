//! Which thread runs a thread state that another thread made, where only the C stack tells: see `pyunwind::nested`.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use pyunwind::Addr;

use super::maps::Maps;

/// A mapping with a C stack in it.
pub struct StackMapping {
    pub range: Range<u64>,
    /// That of the process's first thread, which the kernel has made.
    pub is_first: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runner {
    /// The thread with this pointer.
    Thread(u64),
    /// The process's first one.
    First,
    /// A thread of which nothing is known.
    Nobody,
}

/// Of the thread states that run at these places on C stacks. The C library has what a thread pointer points to at the top of
/// the stack that it made for the thread, in the same mapping.
pub fn runners(
    places: &[(Addr, Addr)],
    pointers: &BTreeSet<u64>,
    mapping: impl Fn(u64) -> Option<StackMapping>,
) -> HashMap<Addr, Runner> {
    let runner = |place: u64| {
        let Some(StackMapping { range, is_first }) = mapping(place) else { return Runner::Nobody };
        match pointers.range(place..range.end).next() {
            _ if is_first => Runner::First,
            Some(pointer) => Runner::Thread(*pointer),
            None => Runner::Nobody,
        }
    };
    places.iter().map(|(state, place)| (*state, runner(place.0))).collect()
}

/// The same for a live process, by its mappings.
pub fn by_mappings(pid: u32, places: &[(Addr, Addr)], states: &[(Addr, u64)]) -> HashMap<Addr, Runner> {
    if places.is_empty() {
        return HashMap::new();
    }
    let Ok(maps) = Maps::read(pid) else { return HashMap::new() };
    let pointers = states.iter().map(|(_, pointer)| *pointer).collect();
    runners(places, &pointers, |at| {
        let mapping = maps.iter().find(|mapping| (mapping.start..mapping.limit).contains(&at))?;
        Some(StackMapping { range: mapping.start..mapping.limit, is_first: mapping.path == b"[stack]" })
    })
}

/// Thread states by the thread that they belong to, with its pointer.
pub type ByThread = HashMap<u32, Vec<(Addr, u64)>>;

/// Which thread state belongs to which thread, and those that belong to none that is known. `first` is the number of the
/// process's first thread; `number` tells a thread's by its pointer and a state of it.
pub fn assign(
    states: &[(Addr, u64)],
    runners: &HashMap<Addr, Runner>,
    first: u32,
    mut number: impl FnMut(Addr, u64) -> Option<u32>,
) -> (ByThread, Vec<(Addr, u64)>) {
    let mut of_first = None;
    if runners.values().any(|runner| *runner == Runner::First) {
        let mut own = states
            .iter()
            .filter(|(state, _)| !runners.contains_key(state) || runners[state] == Runner::First);
        of_first =
            own.find(|(state, pointer)| number(*state, *pointer) == Some(first)).map(|(_, pointer)| *pointer);
    }
    let (mut by_thread, mut strays) = (ByThread::new(), Vec::new());
    for &(state, pointer) in states {
        let (pointer, tid) = match runners.get(&state) {
            None => (pointer, number(state, pointer)),
            Some(Runner::Thread(runner)) => (*runner, number(state, *runner)),
            Some(Runner::First) => (of_first.unwrap_or(pointer), Some(first)),
            // The id is that of another thread.
            Some(Runner::Nobody) => (0, None),
        };
        match tid {
            Some(tid) => by_thread.entry(tid).or_default().push((state, pointer)),
            None => strays.push((state, pointer)),
        }
    }
    (by_thread, strays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_belongs_to_the_stack_that_it_runs_on() {
        let mapping = |at: u64| {
            let range = [0x1000..0x2000, 0x2000..0x3000, 0x8000..0x9000]
                .into_iter()
                .find(|range| range.contains(&at))?;
            Some(StackMapping { is_first: range.start == 0x8000, range })
        };
        let pointers = BTreeSet::from([0x800, 0x1f00, 0x1ff0]);
        // (place, who runs it)
        let rows = [
            (0x1100, Runner::Thread(0x1f00)),
            (0x1f80, Runner::Thread(0x1ff0)),
            (0x2100, Runner::Nobody),
            (0x8100, Runner::First),
            (0x7000, Runner::Nobody),
        ];
        for (place, expected) in rows {
            let found = runners(&[(Addr(8), Addr(place))], &pointers, mapping);
            assert_eq!(found, HashMap::from([(Addr(8), expected)]), "{place:#x}");
        }
    }
}
