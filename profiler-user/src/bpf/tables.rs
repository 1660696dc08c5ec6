//! What user space tells the programs: which processes, which layouts, where threads are.

use std::collections::HashMap as StdHashMap;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use profiler_common::limits::MAX_LAYOUTS;
use profiler_common::{ProcessRecord, ThreadKey};
use pyunwind::Layout;

use super::BpfError;
use super::pod::Plain;

pub struct Tables {
    procs: HashMap<MapData, u32, Plain<ProcessRecord>>,
    layouts: Array<MapData, Plain<Layout>>,
    hints: HashMap<MapData, Plain<ThreadKey>, u64>,
    known_layouts: StdHashMap<Layout, u32>,
}

/// `BPF_NOEXIST` (`include/uapi/linux/bpf.h`)
const NO_EXIST: u64 = 1;

impl Tables {
    pub(super) fn new(procs: Map, layouts: Map, hints: Map) -> Result<Tables, BpfError> {
        Ok(Tables {
            procs: HashMap::try_from(procs).map_err(|source| BpfError::Map { name: "PROCS", source })?,
            layouts: Array::try_from(layouts).map_err(|source| BpfError::Map { name: "LAYOUTS", source })?,
            hints: HashMap::try_from(hints).map_err(|source| BpfError::Map { name: "HINTS", source })?,
            known_layouts: StdHashMap::new(),
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

    /// Adds a process found by a scan; `false` if the kernel already knows it better.
    pub fn add_process(&mut self, record: ProcessRecord) -> Result<bool, BpfError> {
        match self.procs.insert(record.key.tgid, Plain(record), NO_EXIST) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EEXIST) => {
                Ok(false)
            }
            Err(source) => Err(BpfError::Map { name: "PROCS", source }),
        }
    }

    /// Says what runs in a process image; `false` if the pid belongs to another one by now, which has its own look before
    /// it. The kernel checks the key on every tick, so the moment between the look and the write does no harm.
    pub fn set_process(&mut self, record: ProcessRecord) -> Result<bool, BpfError> {
        if self.process(record.key.tgid).is_some_and(|current| !current.is_of(&record.key)) {
            return Ok(false);
        }
        self.procs
            .insert(record.key.tgid, Plain(record), 0)
            .map_err(|source| BpfError::Map { name: "PROCS", source })?;
        Ok(true)
    }

    /// Forgets a process image, unless the pid already belongs to another one.
    pub fn remove_process(&mut self, key: &profiler_common::ProcessKey) {
        if self.process(key.tgid).is_some_and(|record| record.is_of(key)) {
            // Gone already is as good as removed.
            let _ = self.procs.remove(&key.tgid);
        }
    }

    pub fn process(&self, tgid: u32) -> Option<ProcessRecord> {
        self.procs.get(&tgid, 0).ok().map(|plain| plain.0)
    }

    /// Leaves a hint where a thread's state is; the kernel checks it on every use.
    pub fn hint(&mut self, thread: ThreadKey, state: u64) -> Result<(), BpfError> {
        self.hints.insert(Plain(thread), state, 0).map_err(|source| BpfError::Map { name: "HINTS", source })
    }
}
