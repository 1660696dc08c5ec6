//! What user space tells the programs: which processes, which layouts, where threads are.

use std::collections::HashMap as StdHashMap;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use profiler_common::limits::{MAX_LAYOUTS, MAX_PROCESSES};
use profiler_common::process::{EXEC_ID_ANY, FLAG_IN_TREE, PROCESS_DORMANT};
use profiler_common::{ProcessRecord, ThreadKey};
use pyunwind::Layout;

use super::BpfError;
use super::pod::Plain;

pub struct Tables {
    procs: HashMap<MapData, u32, Plain<ProcessRecord>>,
    layouts: Array<MapData, Plain<Layout>>,
    hints: HashMap<MapData, Plain<ThreadKey>, u64>,
    known_layouts: StdHashMap<Layout, u32>,
    /// Processes that the table had no room for.
    full: u64,
}

/// `BPF_NOEXIST` (`include/uapi/linux/bpf.h`)
const NO_EXIST: u64 = 1;
/// `BPF_EXIST`
const EXIST: u64 = 2;

impl Tables {
    pub(super) fn new(procs: Map, layouts: Map, hints: Map) -> Result<Tables, BpfError> {
        Ok(Tables {
            procs: HashMap::try_from(procs).map_err(|source| BpfError::Map { name: "PROCS", source })?,
            layouts: Array::try_from(layouts).map_err(|source| BpfError::Map { name: "LAYOUTS", source })?,
            hints: HashMap::try_from(hints).map_err(|source| BpfError::Map { name: "HINTS", source })?,
            known_layouts: StdHashMap::new(),
            full: 0,
        })
    }

    /// The index of a layout, added on first use.
    pub fn layout(&mut self, layout: &Layout) -> Result<u32, BpfError> {
        if let Some(index) = self.known_layouts.get(layout) {
            return Ok(*index);
        }
        let index = self.known_layouts.len() as u32;
        if index >= MAX_LAYOUTS {
            return Err(BpfError::LayoutsFull(MAX_LAYOUTS));
        }
        self.layouts
            .set(index, Plain(*layout), 0)
            .map_err(|source| BpfError::Map { name: "LAYOUTS", source })?;
        self.known_layouts.insert(*layout, index);
        Ok(index)
    }

    /// How often the table of processes had no room for one.
    pub fn full(&self) -> u64 {
        self.full
    }

    /// `false` if the kernel has a record already where there must be none, or no room, which is counted.
    fn put(&mut self, record: ProcessRecord, flags: u64) -> Result<bool, BpfError> {
        let Err(source) = self.procs.insert(record.key.tgid, Plain(record), flags) else { return Ok(true) };
        let errno = match &source {
            MapError::SyscallError(error) => error.io_error.raw_os_error(),
            _ => None,
        };
        match errno {
            Some(libc::EEXIST) => Ok(false),
            // `kernel/bpf/hashtab.c`, `alloc_htab_elem`
            Some(libc::E2BIG) => {
                self.full += 1;
                Ok(false)
            }
            _ => Err(BpfError::Map { name: "PROCS", source }),
        }
    }

    /// Adds a process found by a scan; `false` if the kernel already knows it better, or has no room for it.
    pub fn add_process(&mut self, record: ProcessRecord) -> Result<bool, BpfError> {
        self.put(record, NO_EXIST)
    }

    /// Says what runs in a process image; `false` if there is no room for it, or the pid belongs to another one by now, which
    /// has its own look before it. The kernel checks the key on every tick, so the moment between the look and the write does no harm.
    pub fn set_process(&mut self, mut record: ProcessRecord) -> Result<bool, BpfError> {
        if let Some(current) = self.process(record.key.tgid) {
            // An exec may have come between a look at a record and the write that followed: the newer image wins.
            let is_older = current.key.start_ns == record.key.start_ns
                && record.key.exec_id != EXEC_ID_ANY
                && current.key.exec_id < record.key.exec_id;
            if !current.is_of(&record.key) && !is_older {
                return Ok(false);
            }
            record.flags |= current.flags & FLAG_IN_TREE;
        }
        self.put(record, 0)
    }

    /// Has the kernel send the code objects of a process again: those it had sent are forgotten here.
    pub fn renew(&mut self, key: &profiler_common::ProcessKey) -> Result<(), BpfError> {
        if let Some(record) = self.process(key.tgid)
            && record.is_of(key)
        {
            self.set_process(ProcessRecord { epoch: record.epoch.wrapping_add(1), ..record })?;
        }
        Ok(())
    }

    /// Forgets a process image, unless the pid already belongs to another one.
    pub fn remove_process(&mut self, key: &profiler_common::ProcessKey) {
        if self.process(key.tgid).is_some_and(|record| record.is_of(key)) {
            // Gone already is as good as removed.
            let _ = self.procs.remove(&key.tgid);
        }
    }

    /// The process is no Python, or not one to be sampled. In a tree that was asked for, what it makes of itself and of its
    /// children still matters.
    pub fn let_go(&mut self, key: &profiler_common::ProcessKey) {
        match self.process(key.tgid) {
            Some(record) if record.is_of(key) && record.flags & FLAG_IN_TREE != 0 => {
                let dormant = ProcessRecord { state: PROCESS_DORMANT, ..record };
                // It may be gone, or another program, by now; the next event of it tells.
                let _ = self.procs.insert(key.tgid, Plain(dormant), 0);
            }
            _ => self.remove_process(key),
        }
    }

    /// Takes a process into a tree that was asked for, whatever it runs.
    pub fn add_to_tree(&mut self, key: profiler_common::ProcessKey) -> Result<(), BpfError> {
        let fresh = ProcessRecord { key, state: PROCESS_DORMANT, ..ProcessRecord::default() };
        let known = self.process(key.tgid);
        let record = ProcessRecord {
            flags: known.map_or(0, |known| known.flags) | FLAG_IN_TREE,
            ..known.unwrap_or(fresh)
        };
        self.put(record, 0).map(|_| ())
    }

    /// Has the kernel send all code objects of a process again.
    pub fn raise_epoch(&mut self, key: &profiler_common::ProcessKey) {
        if let Some(record) = self.process(key.tgid).filter(|record| record.is_of(key)) {
            let record = ProcessRecord { epoch: record.epoch.wrapping_add(1), ..record };
            // Gone meanwhile: there is nobody to send anything of.
            let _ = self.procs.insert(key.tgid, Plain(record), EXIST);
        }
    }

    pub fn is_in_tree(&self, tgid: u32) -> bool {
        self.process(tgid).is_some_and(|record| record.flags & FLAG_IN_TREE != 0)
    }

    /// Whether anybody is left of the trees that were asked for.
    pub fn has_tree(&self) -> bool {
        // Bounded: an entry that goes while it is looked at leads back to the beginning.
        let mut records = self.procs.iter().take(MAX_PROCESSES as usize).flatten();
        records.any(|(_, record)| record.0.flags & FLAG_IN_TREE != 0)
    }

    pub fn process(&self, tgid: u32) -> Option<ProcessRecord> {
        self.procs.get(&tgid, 0).ok().map(|plain| plain.0)
    }

    /// Leaves a hint where a thread's state is; the kernel checks it on every use.
    pub fn hint(&mut self, thread: ThreadKey, state: u64) -> Result<(), BpfError> {
        self.hints.insert(Plain(thread), state, 0).map_err(|source| BpfError::Map { name: "HINTS", source })
    }
}
