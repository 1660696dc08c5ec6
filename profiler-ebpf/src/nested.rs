//! Which of several interpreters the current thread runs, where thread states do not tell: see `pyunwind::nested`. Up to 3.9 the
//! C stack is searched for the running frame: it is in a register that survives calls, or has been saved by who was called
//! since.
//!
//! All of it is in functions of their own, global in their BTF: few processes need it, and the verifier goes through each once.
//! See `drive`.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use profiler_common::Stat;
use profiler_common::limits::{C_STACK_BYTES, C_STACK_WORDS_PER_STEP, MAX_C_STACK_STEPS, MAX_THREAD_STEPS};
use pyunwind::Addr;
use pyunwind::nested::Nested;
use pyunwind::thread::WalkStep;

use crate::arch;
use crate::collect::{RUNNING, SEARCH_END, SEARCH_FAULT};
use crate::drive::{places, shared};
use crate::maps::count;
use crate::memory::UserMemory;
use crate::scratch::Scratch;
use crate::task::stack_pointer;

/// Words of registers in front of those of the stack.
pub const REGISTER_WORDS: usize = 16;

const _: () = assert!(arch::SAVED_REGISTERS <= REGISTER_WORDS);

/// Leaves the thread's state in `scratch.threads`, which has been started, and how the search ended in `scratch.result`.
/// `scratch.known` is looked at, too.
#[inline(always)]
pub fn search(scratch: &mut Scratch, context: u32) -> &mut Scratch {
    let scratch = shared(scratch);
    pyprof_nested(context);
    pyprof_running(context);
    // SAFETY: the pointer that came in.
    unsafe { &mut *shared(scratch) }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_nested(context: u32) -> u64 {
    let Some((scratch, _)) = places(context) else { return 0 };
    scratch.nested.begin(stack_pointer(scratch.regs), Addr(scratch.known));
    (0..MAX_THREAD_STEPS).any(|_| pyprof_nested_step(context) != 0).into()
}

/// One thread state; returns 1 after the last.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_nested_step(context: u32) -> u64 {
    let Some((scratch, layout)) = places(context) else { return 1 };
    scratch.steps += 1;
    let pointer = scratch.thread_pointer;
    let step = scratch.nested.step(&mut scratch.threads, &mut scratch.memory, layout, pointer);
    scratch.result = match step {
        Ok(WalkStep::More | WalkStep::Found) => RUNNING,
        Ok(WalkStep::End) => SEARCH_END,
        Err(_) => SEARCH_FAULT,
    };
    u64::from(scratch.result != RUNNING)
}

/// Settles which of the candidates it is, if there are several.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_running(context: u32) -> u64 {
    let Some((scratch, layout)) = places(context) else { return 0 };
    if !scratch.nested.leaves_doubt() {
        return 0;
    }
    load(scratch);
    scratch.word = 0;
    scratch.held = 0;
    let scratch = shared(scratch);
    (0..MAX_C_STACK_STEPS).any(|_| pyprof_words(context) != 0);
    // SAFETY: this CPU's scratch memory, as `places` gave it.
    let scratch = unsafe { &mut *shared(scratch) };
    scratch.memory.reset();
    let held = Addr(scratch.held);
    if held.is_null() || Nested::settle(&mut scratch.threads, &mut scratch.memory, layout, held).is_err() {
        count(Stat::InterpreterUnsure);
        return 0;
    }
    1
}

/// Reads the registers with which user mode was left, and the end of the C stack, as much as there is. No frames have been
/// read yet.
#[inline(always)]
fn load(scratch: &mut Scratch) {
    let words = scratch.memory.c_stack();
    for word in words.iter_mut().take(REGISTER_WORDS) {
        *word = 0;
    }
    let at = scratch.regs + arch::SAVED_REGISTERS_OFFSET;
    // SAFETY: a buffer with room for more than that; the helper checks the source.
    unsafe {
        bpf_probe_read_kernel(words.as_mut_ptr().cast(), arch::SAVED_REGISTERS as u32 * 8, at as *const _)
    };
    let end = stack_pointer(scratch.regs);
    let room = scratch.thread_pointer.wrapping_sub(end).min(C_STACK_BYTES);
    let read = scratch.memory.load_c_stack(end, room);
    scratch.words = REGISTER_WORDS as u32 + (read / 8) as u32;
}

/// A few words; returns 1 after the last, or where a running frame is found.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pyprof_words(context: u32) -> u64 {
    let Some((scratch, _)) = places(context) else { return 1 };
    let begin = scratch.word;
    scratch.word = begin.wrapping_add(C_STACK_WORDS_PER_STEP);
    if begin >= scratch.words {
        return 1;
    }
    for number in 0..C_STACK_WORDS_PER_STEP {
        let at = begin.wrapping_add(number);
        let word = scratch.memory.c_stack()[at as usize & (UserMemory::C_STACK_WORDS - 1)];
        if word == 0 || at >= scratch.words {
            continue;
        }
        let state = scratch.nested.holding(word);
        if !state.is_null() {
            scratch.held = state.0;
            return 1;
        }
    }
    0
}
