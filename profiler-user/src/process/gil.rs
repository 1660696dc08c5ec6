//! Whether what the layout says of the GIL fits the process. Those fields lie deep inside of the runtime's state, which
//! may differ between patch releases of the versions that do not export offsets: a wrong one would call every thread a
//! waiting one. Where it does not fit, samples come without the label.

use pyunwind::layout::{GIL_CURRENT, GIL_STATE, GIL_UNKNOWN};
use pyunwind::{Addr, Fault, Layout, Memory};

/// Interpreters that are looked through.
const MAX_INTERPRETERS: usize = 256;

/// The layout, without what it says of the GIL if that cannot be true.
pub(super) fn believed(memory: &mut impl Memory, layout: &Layout, runtime: Addr) -> Layout {
    let fits = match layout.gil {
        GIL_CURRENT => current_fits(memory, layout, runtime),
        GIL_STATE => state_fits(memory, layout, runtime),
        _ => Ok(true),
    };
    // What cannot be read now may be read later.
    if fits.unwrap_or(true) { *layout } else { Layout { gil: GIL_UNKNOWN, ..*layout } }
}

/// NULL, or a thread state of one of the interpreters.
fn current_fits(memory: &mut impl Memory, layout: &Layout, runtime: Addr) -> Result<bool, Fault> {
    let current = Addr(memory.word(runtime.offset(i64::from(layout.runtime_current) as u64))?);
    if current.is_null() {
        return Ok(true);
    }
    if !current.is_aligned() {
        return Ok(false);
    }
    let Ok(owner) = memory.word(current.offset(u64::from(layout.thread_interp))) else { return Ok(false) };
    let mut interpreter = Addr(memory.word(runtime.offset(u64::from(layout.runtime_interpreters_head)))?);
    for _ in 0..MAX_INTERPRETERS {
        if interpreter.is_null() {
            break;
        }
        if interpreter.0 == owner {
            return Ok(true);
        }
        interpreter = Addr(memory.word(interpreter.offset(u64::from(layout.interpreter_next)))?);
    }
    Ok(false)
}

/// A pointer to a `last_holder`, NULL or aligned, and to a `locked`: -1 before the first use, 0 or 1.
fn state_fits(memory: &mut impl Memory, layout: &Layout, runtime: Addr) -> Result<bool, Fault> {
    let interpreter = Addr(memory.word(runtime.offset(u64::from(layout.runtime_interpreters_head)))?);
    if interpreter.is_null() {
        return Ok(true);
    }
    let gil = Addr(memory.word(interpreter.offset(u64::from(layout.interpreter_gil)))?);
    if gil.is_null() || !gil.is_aligned() {
        return Ok(gil.is_null());
    }
    let holder = gil.offset(u64::from(layout.gil_holder));
    let (Ok(last), Ok(locked)) = (memory.word(holder), memory.word(holder.offset(8))) else {
        return Ok(false);
    };
    Ok(Addr(last).is_aligned() && (-1..=1).contains(&(locked as i32)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use pyunwind::host::versions;

    use super::*;

    /// Words by address; whatever else is read is not there.
    struct Words(HashMap<u64, u64>);

    impl Memory for Words {
        fn word(&mut self, at: Addr) -> Result<u64, Fault> {
            self.0.get(&at.0).copied().ok_or(Fault)
        }

        fn load(&mut self, _: Addr, _: u32) -> Result<(), Fault> {
            Err(Fault)
        }

        fn field(&self, _: u32) -> u64 {
            0
        }

        fn load_frame(&mut self, _: Addr, _: u32, _: bool) -> Result<(), Fault> {
            Err(Fault)
        }

        fn frame_field(&self, _: u32) -> u64 {
            0
        }
    }

    const RUNTIME: u64 = 0x10_0000;
    const INTERPRETER: u64 = 0x20_0000;
    const OTHER: u64 = 0x30_0000;
    const THREAD: u64 = 0x40_0000;
    const GIL: u64 = 0x50_0000;

    #[test]
    fn what_does_not_fit_is_not_believed() {
        let check = |minor: u8, current: u64, owner: u64, expected: bool| {
            let layout = versions::layout(minor).unwrap();
            let words = HashMap::from([
                (RUNTIME + u64::from(layout.runtime_interpreters_head), INTERPRETER),
                (RUNTIME.wrapping_add_signed(layout.runtime_current.into()), current),
                (INTERPRETER + u64::from(layout.interpreter_next), OTHER),
                (OTHER + u64::from(layout.interpreter_next), 0),
                (THREAD + u64::from(layout.thread_interp), owner),
            ]);
            let found = believed(&mut Words(words), &layout, Addr(RUNTIME));
            assert_eq!(found.gil == layout.gil, expected, "3.{minor}: {current:#x} of {owner:#x}");
            assert_eq!(Layout { gil: layout.gil, ..found }, layout);
        };
        for minor in [7, 8, 9, 10, 11] {
            check(minor, 0, 0, true);
            check(minor, THREAD, INTERPRETER, true);
            check(minor, THREAD, OTHER, true);
            check(minor, THREAD, GIL, false);
            check(minor, THREAD + 1, INTERPRETER, false);
            check(minor, 0x7, INTERPRETER, false);
            check(minor, !7, INTERPRETER, false);
        }
    }

    #[test]
    fn a_gil_state_holds_a_holder_and_a_lock() {
        let layout = versions::layout(12).unwrap();
        let check = |gil: u64, last: u64, locked: u64, expected: bool| {
            let words = HashMap::from([
                (RUNTIME + u64::from(layout.runtime_interpreters_head), INTERPRETER),
                (INTERPRETER + u64::from(layout.interpreter_gil), gil),
                (GIL + u64::from(layout.gil_holder), last),
                (GIL + u64::from(layout.gil_holder) + 8, locked),
            ]);
            let found = believed(&mut Words(words), &layout, Addr(RUNTIME));
            assert_eq!(found.gil == layout.gil, expected, "{gil:#x} {last:#x} {locked:#x}");
        };
        check(GIL, THREAD, 1, true);
        check(GIL, 0, u64::from(u32::MAX), true);
        check(GIL, THREAD, 0xdead_beef_0000_0000, true);
        check(0, 0, 0, true);
        check(GIL + 4, THREAD, 1, false);
        check(THREAD, THREAD, 1, false);
        check(GIL, THREAD + 3, 1, false);
        check(GIL, THREAD, 2, false);
    }
}
