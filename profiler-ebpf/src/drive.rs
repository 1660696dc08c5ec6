//! What repeats the steps of a walk. `bpf_loop` (Linux 5.17) is verified in no time and is one program's business; a program
//! that calls it is rejected by older kernels, and so each sampling program is made twice, and one of the two is loaded.
//!
//! Older kernels get a `for` with a bound. Their verifier follows every turn of it, so that a turn must be short: a step is a
//! function of its own, global in its BTF, which the verifier checks once, by itself, whoever calls it how often
//! (`kernel/bpf/verifier.c`, `do_check_subprogs`; Linux 5.6). Such a function takes no pointers before 5.12, only numbers: it
//! finds its memory in the maps.

use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use profiler_common::limits::{MAX_CODE_RECORDS, MAX_THREAD_STEPS, MAX_WALK_STEPS};
use pyunwind::Layout;

use crate::capture::send_record;
use crate::collect::{step_frame, step_thread};
use crate::maps::{CODE_SCRATCH, LAYOUTS, SCRATCH};
use crate::scratch::{CodeScratch, Scratch};
use crate::task::{Task, user_registers, user_registers_from_stack};

/// The steps of one sample, repeated until one says that it was the last, or their bound.
pub trait Drive {
    /// Which of the working memories of this CPU is its own: that of `sources::cpu`, or of `sources::off_cpu`.
    const CONTEXT: u32;

    fn frames<'a>(scratch: &'a mut Scratch, layout: &Layout) -> &'a mut Scratch;

    fn threads<'a>(scratch: &'a mut Scratch, layout: &Layout) -> &'a mut Scratch;

    fn codes(scratch: &mut Scratch, code: &mut CodeScratch, layout: &Layout);

    /// Where the kernel keeps the registers with which the current thread left user mode; 0 if it has none.
    fn user_registers(task: Task) -> u64;
}

/// `Drive::CONTEXT`
pub const ON_CPU: u32 = 0;
pub const OFF_CPU: u32 = 1;

/// By `bpf_loop`.
pub struct Looped<const CONTEXT: u32>;

/// Lives on the stack of the program, whence `bpf_loop` hands it to the callbacks.
#[repr(C)]
struct Walks {
    scratch: *mut Scratch,
    layout: *const Layout,
}

#[repr(C)]
struct Codes {
    scratch: *mut Scratch,
    code: *mut CodeScratch,
    layout: *const Layout,
}

impl<const CONTEXT: u32> Drive for Looped<CONTEXT> {
    const CONTEXT: u32 = CONTEXT;

    #[inline(always)]
    fn frames<'a>(scratch: &'a mut Scratch, layout: &Layout) -> &'a mut Scratch {
        let mut walks = Walks { scratch, layout };
        // SAFETY: the callback has the signature that `bpf_loop` calls, and `walks` outlives the call.
        unsafe { bpf_loop(MAX_WALK_STEPS, looped_frame as *mut c_void, (&raw mut walks).cast(), 0) };
        // SAFETY: `scratch` is still this CPU's own; the reborrow goes through the raw pointer given to the loop.
        unsafe { &mut *walks.scratch }
    }

    #[inline(always)]
    fn threads<'a>(scratch: &'a mut Scratch, layout: &Layout) -> &'a mut Scratch {
        let mut walks = Walks { scratch, layout };
        // SAFETY: as in `frames`.
        unsafe { bpf_loop(MAX_THREAD_STEPS, looped_thread as *mut c_void, (&raw mut walks).cast(), 0) };
        // SAFETY: as in `frames`.
        unsafe { &mut *walks.scratch }
    }

    #[inline(always)]
    fn codes(scratch: &mut Scratch, code: &mut CodeScratch, layout: &Layout) {
        let mut codes = Codes { scratch, code, layout };
        // SAFETY: as in `frames`.
        unsafe { bpf_loop(MAX_CODE_RECORDS, looped_record as *mut c_void, (&raw mut codes).cast(), 0) };
    }

    #[inline(always)]
    fn user_registers(_task: Task) -> u64 {
        user_registers()
    }
}

unsafe extern "C" fn looped_frame(_index: u32, context: *mut Walks) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer that `frames` gave it; both in it were checked before the loop.
    let (scratch, layout) = unsafe { (&mut *(*context).scratch, &*(*context).layout) };
    i64::from(step_frame(scratch, layout))
}

unsafe extern "C" fn looped_thread(_index: u32, context: *mut Walks) -> i64 {
    // SAFETY: as in `looped_frame`.
    let (scratch, layout) = unsafe { (&mut *(*context).scratch, &*(*context).layout) };
    i64::from(step_thread(scratch, layout))
}

unsafe extern "C" fn looped_record(_index: u32, context: *mut Codes) -> i64 {
    // SAFETY: as in `looped_frame`.
    let (scratch, code, layout) =
        unsafe { (&mut *(*context).scratch, &mut *(*context).code, &*(*context).layout) };
    i64::from(send_record(scratch, code, layout))
}

/// By a `for`, with nothing that is newer than the BPF ring buffer (5.8).
pub struct Bounded<const CONTEXT: u32>;

/// Makes the compiler forget what it knows of memory behind `pointer`: functions that are not given it write there.
#[inline(always)]
pub fn shared<T>(pointer: *mut T) -> *mut T {
    let mut same = pointer;
    // An instruction, since the verifier refuses two lines for one place (`check_btf_line`).
    // SAFETY: a move to itself; without `nomem`, the compiler assumes that memory was read and written.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) same, options(nostack)) };
    same
}

impl<const CONTEXT: u32> Drive for Bounded<CONTEXT> {
    const CONTEXT: u32 = CONTEXT;

    #[inline(always)]
    fn frames<'a>(scratch: &'a mut Scratch, _layout: &Layout) -> &'a mut Scratch {
        let scratch = shared(scratch);
        pyprof_frames(CONTEXT);
        // SAFETY: the pointer that came in.
        unsafe { &mut *shared(scratch) }
    }

    #[inline(always)]
    fn threads<'a>(scratch: &'a mut Scratch, _layout: &Layout) -> &'a mut Scratch {
        let scratch = shared(scratch);
        pyprof_threads(CONTEXT);
        // SAFETY: the pointer that came in.
        unsafe { &mut *shared(scratch) }
    }

    #[inline(always)]
    fn codes(scratch: &mut Scratch, code: &mut CodeScratch, _layout: &Layout) {
        shared(scratch);
        shared(code);
        pyprof_codes(CONTEXT);
    }

    #[inline(always)]
    fn user_registers(task: Task) -> u64 {
        user_registers_from_stack(task)
    }
}

/// This CPU's memory and the layout whose index is there.
#[inline(always)]
pub fn places(context: u32) -> Option<(&'static mut Scratch, &'static Layout)> {
    let scratch = SCRATCH.get_ptr_mut(context)?;
    // SAFETY: this CPU's scratch memory; callers are called by the one program that uses it.
    let scratch = unsafe { &mut *scratch };
    let layout = LAYOUTS.get_ptr(scratch.layout)?;
    // SAFETY: a checked pointer into an array map whose entries user space writes before it refers to them.
    Some((scratch, unsafe { &*layout }))
}

// Global for the verifier, as everything is that the linker exports; `context` is `Drive::CONTEXT`. They return 1 to end the
// loop.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_frame(context: u32) -> u64 {
    places(context).is_none_or(|(scratch, layout)| step_frame(scratch, layout)).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_frames(context: u32) -> u64 {
    (0..MAX_WALK_STEPS).any(|_| pyprof_frame(context) != 0).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_thread(context: u32) -> u64 {
    places(context).is_none_or(|(scratch, layout)| step_thread(scratch, layout)).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_threads(context: u32) -> u64 {
    (0..MAX_THREAD_STEPS).any(|_| pyprof_thread(context) != 0).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_code(context: u32) -> u64 {
    let (Some((scratch, layout)), Some(code)) = (places(context), CODE_SCRATCH.get_ptr_mut(context)) else {
        return 1;
    };
    // SAFETY: this CPU's scratch memory; the caller is called by the one program that uses it.
    send_record(scratch, unsafe { &mut *code }, layout).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_codes(context: u32) -> u64 {
    (0..MAX_CODE_RECORDS).any(|_| pyprof_code(context) != 0).into()
}
