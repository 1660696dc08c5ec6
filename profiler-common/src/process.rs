//! What a process is: a pid alone breaks on exec and on re-use.

use bytemuck::{Pod, Zeroable};

/// Identifies one image of one process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ProcessKey {
    /// Start of the process, ns since boot (`task_struct.start_boottime` of the group leader).
    pub start_ns: u64,
    pub tgid: u32,
    /// `task_struct.self_exec_id`, low 32 bits.
    pub exec_id: u32,
}

/// `exec_id` of a record made by the first scan of /proc, which cannot see it: matches any.
pub const EXEC_ID_ANY: u32 = u32::MAX;
/// `start_ns` of a record made by the first scan of /proc: matches any.
pub const START_NS_ANY: u64 = u64::MAX;

/// `state`: what runs here is not known yet; ticks are sent without frames.
pub const PROCESS_PENDING: u32 = 0;
/// `state`: a CPython whose layout is known.
pub const PROCESS_PYTHON: u32 = 1;
/// `state`: maps a CPython that it does not run. Its ticks are those of any other program; its children are still followed,
/// since one of them may start the interpreter.
pub const PROCESS_DORMANT: u32 = 2;
/// `state`: a CPython that nobody asked for. It is not unwound, nor is what it forks; an exec makes it a question again.
pub const PROCESS_LEFT_OUT: u32 = 3;

/// `flags`: thread walks are long enough that hints pay.
pub const FLAG_MANY_THREADS: u32 = 1;
/// `flags`: a thread state was found before, so a process without one is past its interpreter, not before it.
pub const FLAG_STARTED: u32 = 2;
/// `flags`: in a tree of processes that was asked for. What it forks is so, too, and what any of them runs by exec.
pub const FLAG_IN_TREE: u32 = 4;
/// `flags`, from this bit on: how far the ids of threads lie below their thread pointers, bytes; 0 until a thread was found,
/// and wherever they are the same.
pub const ID_BELOW_SHIFT: u32 = 16;

/// One entry of the process table in the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ProcessRecord {
    pub key: ProcessKey,
    /// Address of `_PyRuntime` in the process.
    pub runtime: u64,
    pub state: u32,
    /// Index into the layouts.
    pub layout: u32,
    /// Raised by user space to have code objects sent again.
    pub epoch: u32,
    /// `FLAG_*`, set by the kernel.
    pub flags: u32,
    /// Address of the main interpreter once the kernel has met it: the others have to be asked for their ids.
    pub main_interpreter: u64,
}

impl ProcessRecord {
    /// Whether the record is of this image; one made by the first scan is of whatever has its pid.
    #[inline(always)]
    pub const fn is_of(&self, key: &ProcessKey) -> bool {
        self.key.tgid == key.tgid
            && (self.key.start_ns == key.start_ns || self.key.start_ns == START_NS_ANY)
            && (self.key.exec_id == key.exec_id || self.key.exec_id == EXEC_ID_ANY)
    }
}

/// Identifies a thread by what its thread state knows: its id, which is the thread pointer or right below it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ThreadKey {
    pub thread_pointer: u64,
    pub tgid: u32,
    /// 0, or of a thread without a state: when it began, since another may have its pointer next.
    pub started: u32,
}

impl ThreadKey {
    /// The key under which it is kept that this thread has no thread state.
    #[inline(always)]
    pub const fn foreign(self, start_ns: u64) -> ThreadKey {
        // Microseconds: two threads cannot be made in one, and 32 bits of them last for an hour.
        ThreadKey { started: (start_ns >> 10) as u32 | 1 << 31, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_of_one_image_or_of_any_with_its_pid() {
        let key = |start_ns, tgid, exec_id| ProcessKey { start_ns, tgid, exec_id };
        let any = key(START_NS_ANY, 7, EXEC_ID_ANY);
        for (record, image, expected) in [
            (key(1, 7, 2), key(1, 7, 2), true),
            (key(1, 7, 2), key(1, 7, 3), false),
            (key(1, 7, 2), key(2, 7, 2), false),
            (key(1, 7, 2), key(1, 8, 2), false),
            (any, key(1, 7, 2), true),
            (any, key(1, 8, 2), false),
            (any, any, true),
            // What nobody has seen but /proc is not known to be the image that the kernel follows.
            (key(1, 7, 2), any, false),
        ] {
            let record = ProcessRecord { key: record, ..ProcessRecord::default() };
            assert_eq!(record.is_of(&image), expected, "{record:?} {image:?}");
        }
    }
}
