//! Where the frames of one sample go, and what is known of their code objects.

use profiler_common::Stat;
use profiler_common::limits::{CODE_CACHE_SLOTS, MAX_FRAMES, MAX_NEW_CODES, SEEN_SLOTS};
use pyunwind::code::CodeCheck;
use pyunwind::{Addr, FrameSink};

use crate::maps::{SEEN, count};
use crate::scratch::{Checked, NewCode, Sample, SinkState};

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
/// Goes into the hash of a stack where the collector stands.
const COLLECTOR: u64 = 0x6763;

#[inline(always)]
pub fn mix(state: u64, value: u64) -> u64 {
    let product = (state ^ value).wrapping_mul(MIX);
    product ^ (product >> 29)
}

pub struct Sink<'a> {
    pub sample: &'a mut Sample,
    pub state: &'a mut SinkState,
}

#[inline(always)]
fn slot(code: Addr) -> usize {
    ((code.0.wrapping_mul(MIX)) >> 40) as usize & (CODE_CACHE_SLOTS - 1)
}

impl FrameSink for Sink<'_> {
    #[inline(always)]
    fn push(&mut self, code: Addr, check: CodeCheck, index: i32) -> bool {
        let depth = self.state.depth as usize;
        if depth >= MAX_FRAMES {
            return false;
        }
        let frame = &mut self.sample.frames[depth & (MAX_FRAMES - 1)];
        frame.code = code.0;
        frame.identity = check.identity;
        frame.index = index;
        let place = (u64::from(check.identity) << 32) | u64::from(index as u32);
        self.state.hash = mix(mix(self.state.hash, code.0), place);
        self.state.depth = depth as u32 + 1;
        true
    }

    #[inline(always)]
    fn collector(&mut self) {
        self.state.collector = self.state.depth;
        self.state.hash = mix(self.state.hash, COLLECTOR);
    }

    #[inline(always)]
    fn clear(&mut self) {
        self.state.depth = 0;
        self.state.hash = 0;
        count(Stat::Restarted);
    }

    #[inline(always)]
    fn recall(&self, code: Addr) -> Option<CodeCheck> {
        let checked = &self.state.cache[slot(code)];
        if checked.code == code.0 && checked.sequence == self.state.sequence {
            Some(CodeCheck {
                identity: checked.identity,
                phantom: checked.phantom != 0,
                copy: checked.copy,
                start: Addr(checked.start),
            })
        } else {
            None
        }
    }

    #[inline(always)]
    fn remember(&mut self, code: Addr, check: CodeCheck) {
        let checked: &mut Checked = &mut self.state.cache[slot(code)];
        checked.code = code.0;
        checked.sequence = self.state.sequence;
        checked.identity = check.identity;
        checked.phantom = u32::from(check.phantom);
        checked.copy = check.copy;
        checked.start = check.start.0;
        if check.phantom {
            return;
        }
        let tag = mix(mix(self.state.salt, code.0), u64::from(check.identity));
        let Some(seen) = SEEN.get_ptr((tag as u32) & (SEEN_SLOTS - 1)) else { return };
        // SAFETY: a checked pointer into an array map; a torn read could only make us send a record twice.
        if unsafe { *seen } == tag {
            return;
        }
        let position = self.state.new_codes as usize;
        if position >= MAX_NEW_CODES {
            count(Stat::CodeDeferred);
            return;
        }
        let new: &mut NewCode = &mut self.state.new[position & (MAX_NEW_CODES - 1)];
        new.code = code.0;
        new.identity = check.identity;
        new.tag = tag;
        self.state.new_codes = position as u32 + 1;
    }
}
