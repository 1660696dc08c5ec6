//! Every bound that both sides must agree on, with its reason.

/// Python frames of one stack; a deeper stack keeps its leaf side.
pub const MAX_FRAMES: usize = 512;
/// Thread states that the kernel looks at to find a thread; user space provides hints beyond that.
pub const MAX_THREAD_STEPS: u32 = 128;
/// Of the C stack, what is searched for a running frame.
pub const C_STACK_BYTES: u64 = 8064;
pub const C_STACK_WORDS_PER_STEP: u32 = 8;
/// Iterations of that search: registers, too.
pub const MAX_C_STACK_STEPS: u32 = 1024 / C_STACK_WORDS_PER_STEP;
/// Iterations of the frame walk: every frame, as many shims, and one restart.
pub const MAX_WALK_STEPS: u32 = 3 * MAX_FRAMES as u32;
/// New code objects captured with one sample (about 3-6 us each, in an interrupt); the rest follow with later samples.
pub const MAX_NEW_CODES: usize = 32;
/// Ring records written for the code objects of one sample: one each, and chunks of long line tables.
pub const MAX_CODE_RECORDS: u32 = 48;
/// Bytes of a function's name; a longer one is cut and marked.
pub const MAX_NAME_BYTES: usize = 1024;
/// Bytes of a file's name; a longer one is cut and marked.
pub const MAX_FILE_BYTES: usize = 1024;
/// Bytes of line table in one record.
pub const MAX_LINES_BYTES: usize = 4096;
/// Chunks of one line table; user space reads what lies beyond from the process.
pub const MAX_LINES_CHUNKS: u32 = 16;
/// Slots of the per-sample memory of checked code objects (direct-mapped).
pub const CODE_CACHE_SLOTS: usize = 256;
/// Slots of the map of code objects already sent (direct-mapped).
pub const SEEN_SLOTS: u32 = 1 << 16;
/// Processes that can be followed at once.
pub const MAX_PROCESSES: u32 = 16_384;
/// Distinct layouts on one host.
pub const MAX_LAYOUTS: u32 = 256;
/// Thread hints kept.
pub const MAX_THREAD_HINTS: u32 = 16_384;
/// A tick's weight is at most this many periods; the excess is reported as unsampled.
pub const MAX_PERIODS_PER_TICK: u64 = 10;
/// Thread walks longer than this leave a hint behind.
pub const HINT_AFTER_STEPS: u32 = 4;
/// A process cannot make threads faster than this: `clone` alone takes longer.
pub const MIN_THREAD_CREATION_NS: u64 = 5_000;
