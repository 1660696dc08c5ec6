//! The questions of the loop, one method each.

use profiler_common::ProcessKey;
use pyunwind::host::code_object::CodeObject;

use super::questions::{
    Access, Brings, Code, Looked, MappedFile, Place, Presence, Question, Seen, Started, Threads,
};
use super::{Identity, Mapping, Parked, Reader, Standing, Trouble, stacks};
use crate::process::Inspection;

impl Reader {
    /// Whether there is a process with this pid.
    pub fn presence(&mut self, key: &ProcessKey) -> Result<Presence, Trouble> {
        self.ask(key, &Question::Presence { pid: key.tgid })
    }

    /// What runs in a process.
    pub fn look(&mut self, key: &ProcessKey) -> Result<Looked, Trouble> {
        // The kernel tells of a reader's exec as of any other. Each answer that is late brings one more reader, and where many
        // are late, to ask about that one would bring the next.
        if self.is_own(key.tgid) {
            let seen = Seen::Known(Inspection::MaybeLater { expects_libpython: false });
            return Ok(Looked { seen, start_ns: 0, age_ns: 0 });
        }
        self.ask(key, &Question::Look { pid: key.tgid })
    }

    /// What a process is called that is no Python.
    pub fn name(&mut self, key: &ProcessKey) -> Result<String, Trouble> {
        self.ask(key, &Question::Name { pid: key.tgid })
    }

    /// What the kernel calls a process: asked about one that does not answer, too, since nothing of it is read.
    pub fn comm(&mut self, key: &ProcessKey) -> Result<String, Trouble> {
        self.exchange(key, &Question::Comm { pid: key.tgid })
    }

    /// Who a process is. `task` may be any live thread of it.
    pub fn identity(&mut self, key: &ProcessKey, task: u32) -> Result<Identity, Trouble> {
        self.ask(key, &Question::Identity { task })
    }

    /// What a process is selected by. `task` may be any live thread of it.
    pub fn standing(&mut self, key: &ProcessKey, task: u32) -> Result<Standing, Trouble> {
        self.ask(key, &Question::Standing { task })
    }

    /// Who has made a process.
    pub fn parent(&mut self, key: &ProcessKey) -> Result<Option<u32>, Trouble> {
        self.ask(key, &Question::Parent { pid: key.tgid })
    }

    /// Whether a runtime has thread states by now.
    pub fn started(&mut self, key: &ProcessKey, place: Place) -> Result<Started, Trouble> {
        self.ask(key, &Question::Started(place))
    }

    /// Whether a mapping of code that a process has just made may bring a Python; asks only about what is not known.
    pub fn brings(&mut self, key: &ProcessKey, mapping: &Mapping<'_>) -> Result<Brings, Trouble> {
        if mapping.inode == 0 || !mapping.path.starts_with(b"/") || self.dull.is_dull(mapping) {
            return Ok(Brings::Never);
        }
        let question = Question::Brings { pid: key.tgid, mapping: MappedFile::of(mapping) };
        let answer = self.ask(key, &question);
        if answer == Ok(Brings::Never) {
            self.dull.note_dull(mapping);
        }
        answer
    }

    /// All thread states of a process.
    pub fn threads(&mut self, key: &ProcessKey, place: Place) -> Result<Threads, Trouble> {
        self.ask(key, &Question::Threads(place))
    }

    /// What Python calls these threads, given by thread pointer and tid.
    pub fn thread_names(
        &mut self,
        key: &ProcessKey,
        place: Place,
        wanted: Vec<(u64, u32)>,
    ) -> Result<Vec<(u64, String)>, Trouble> {
        self.ask(key, &Question::ThreadNames { pid: key.tgid, place, wanted })
    }

    /// The threads of a process that wait, and the number to ask from next.
    pub fn parked(
        &mut self,
        key: &ProcessKey,
        place: Place,
        from: u32,
    ) -> Result<(Vec<Parked>, Option<u32>), Trouble> {
        self.ask(key, &Question::Parked { place, from })
    }

    /// The code object at an address, if it still has this identity.
    pub fn code(
        &mut self,
        key: &ProcessKey,
        place: Place,
        address: u64,
        identity: u32,
    ) -> Result<Option<CodeObject>, Trouble> {
        let code: Option<Code> = self.ask(key, &Question::Code { place, address, identity })?;
        Ok(code.map(CodeObject::from))
    }

    /// Whether the memory of a process may be read.
    pub fn access(&mut self, key: &ProcessKey) -> Result<Access, Trouble> {
        self.ask(key, &Question::Access { pid: key.tgid })
    }

    /// What the threads of a process are at.
    pub fn stacks(
        &mut self,
        key: &ProcessKey,
        place: Place,
        wanted: stacks::Wanted,
    ) -> Result<stacks::Stacks, Trouble> {
        self.ask(key, &Question::Stacks { pid: key.tgid, place, wanted })
    }
}
