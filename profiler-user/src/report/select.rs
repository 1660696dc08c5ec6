//! Which samples a report is about.

use super::Pattern;
use crate::profile::Profile;

/// All that are given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// A pid, or part of a name or of a service.
    pub process: Option<Pattern>,
    /// A tid, or part of a name.
    pub thread: Option<Pattern>,
    /// A function or a file that is somewhere in the stack.
    pub focus: Option<Pattern>,
    /// One that is nowhere in it.
    pub ignore: Option<Pattern>,
}

impl Selection {
    pub fn is_everything(&self) -> bool {
        *self == Selection::default()
    }

    /// Takes everything else out of the profile.
    pub fn apply(&self, profile: &mut Profile) {
        if self.is_everything() {
            return;
        }
        let Selection { process, thread, focus, ignore } = self;
        let processes: Vec<bool> = profile
            .processes()
            .map(|of| process.as_ref().is_none_or(|wanted| wanted.names(of.pid, &[&of.name, of.service()])))
            .collect();
        let comms: Vec<String> = profile.processes().map(|of| of.comm.clone()).collect();
        let threads: Vec<bool> = profile
            .threads()
            .iter()
            .map(|of| {
                let process = of.process as usize;
                let (name, os_name) = of.names(&comms[process]);
                let names = [name, os_name.unwrap_or("")];
                processes[process] && thread.as_ref().is_none_or(|wanted| wanted.names(of.tid, &names))
            })
            .collect();
        let [focus, ignore] =
            [focus, ignore].map(|pattern| pattern.as_ref().map(|it| functions(profile, it)));
        profile.retain(|profile, sample| {
            let has = |functions: &[bool]| {
                let mut stack = profile.stack_locations(sample.stack);
                stack.any(|at| functions[profile.locations()[at.index()].function.index()])
            };
            threads[sample.thread.index()]
                && focus.as_ref().is_none_or(|functions| has(functions))
                && !ignore.as_ref().is_some_and(|functions| has(functions))
        });
    }
}

/// Beside the functions of a profile: whether the name or the file of each is meant.
pub fn functions(profile: &Profile, pattern: &Pattern) -> Vec<bool> {
    let is_it = |function: &crate::profile::Function| {
        pattern.is_in(profile.string(function.name)) || pattern.is_in(profile.string(function.file))
    };
    profile.functions().iter().map(is_it).collect()
}
