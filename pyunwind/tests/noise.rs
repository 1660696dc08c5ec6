//! Memory made of noise that points into itself: whatever a target holds, every walk ends within its bounds and nothing
//! panics. The same noise in every run.

mod synthetic;

use pyunwind::host::code_object::CodeObject;
use pyunwind::host::dict::Objects;
use pyunwind::host::thread_names::thread_names;
use pyunwind::nested::Nested;
use pyunwind::step::Walk;
use pyunwind::thread::{ThreadWalk, WalkStep, revisit};
use pyunwind::{Addr, Fault, Memory, Outcome, code};
use synthetic::{MAX_FRAMES, MAX_STEPS, MAX_THREADS, Stack, drive, layouts};

const BASE: u64 = 0x5500_0000_0000;
/// Enough for the offsets of an interpreter state.
const WORDS: usize = 2048;
const THREAD: u64 = BASE + 0x1230;
const ROUNDS_PER_LAYOUT: u32 = 200_000;
/// Words that change from round to round.
const CHANGES: usize = 24;

/// Knuth's MMIX generator: enough for noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 11 ^ self.0 << 21
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 8) % bound
    }

    fn inside(&mut self) -> u64 {
        BASE + self.below(WORDS as u64) * 8
    }

    /// What may stand anywhere: mostly pointers to somewhere else in the noise, so that walks go far.
    fn word(&mut self) -> u64 {
        match self.below(32) {
            0..=17 => self.inside(),
            18 | 19 => THREAD,
            20 | 21 => 0,
            22..=24 => self.below(8) << (self.below(8) * 8),
            25 => self.inside() + self.below(8),
            26 => BASE + (WORDS as u64) * 8 - self.below(64) * 8,
            27 => u64::MAX - self.below(256),
            28 => self.below(4096),
            29 => 1 << self.below(64),
            _ => self.next(),
        }
    }
}

struct Memories {
    words: Vec<u64>,
    loaded: (u64, u64),
    frame: (u64, u64),
    reads: usize,
}

impl Memories {
    fn range(&mut self, at: Addr, len: u32) -> Result<(u64, u64), Fault> {
        self.reads += 1;
        let first = at.0.checked_sub(BASE).filter(|_| at.is_aligned()).ok_or(Fault)? / 8;
        let words = u64::from(len) / 8;
        if first + words <= WORDS as u64 { Ok((first, words)) } else { Err(Fault) }
    }

    /// A field of what was loaded; outside of it, anything.
    fn at(&self, (first, words): (u64, u64), offset: u32) -> u64 {
        let word = u64::from(offset) / 8;
        if word < words { self.words[(first + word) as usize] } else { 0x5a5a_5a5a_5a5a_5a5a }
    }
}

impl Memory for Memories {
    fn word(&mut self, at: Addr) -> Result<u64, Fault> {
        let (first, _) = self.range(at, 8)?;
        Ok(self.words[first as usize])
    }

    fn load(&mut self, at: Addr, len: u32) -> Result<(), Fault> {
        self.loaded = self.range(at, len)?;
        Ok(())
    }

    fn field(&self, offset: u32) -> u64 {
        self.at(self.loaded, offset)
    }

    fn load_frame(&mut self, at: Addr, len: u32, _: bool) -> Result<(), Fault> {
        self.frame = self.range(at, len)?;
        Ok(())
    }

    fn frame_field(&self, offset: u32) -> u64 {
        self.at(self.frame, offset)
    }
}

#[test]
fn dictionaries_of_noise_end_within_bounds_on_every_layout() {
    let mut noise = Noise(7);
    for layout in layouts() {
        let objects = Objects::of(&layout).expect("a known version");
        let mut memory = Memories { words: vec![0; WORDS], loaded: (0, 0), frame: (0, 0), reads: 0 };
        let (mut tables, mut entries, mut of_instances) = (0, 0, 0);
        for round in 0..ROUNDS_PER_LAYOUT / 4 {
            let changes = if round % 4096 == 0 { WORDS } else { CHANGES };
            for _ in 0..changes {
                let (at, word) = (noise.below(WORDS as u64) as usize, noise.word());
                memory.words[at] = word;
            }
            let (dict, object) = (Addr(noise.word()), Addr(noise.word()));
            let mut hint = noise.next();
            memory.reads = 0;
            let found = [
                objects.dict(&mut memory, dict).ok(),
                objects.attributes(&mut memory, object).ok().flatten(),
            ];
            of_instances += u32::from(found[1].is_some());
            for table in found.into_iter().flatten() {
                tables += 1;
                let _ = objects.find(&mut memory, &table, "", &mut hint);
                let _ = table.each(&mut memory, |_, _| {
                    entries += 1;
                    Ok(true)
                });
            }
            let _ = thread_names(&mut memory, &layout, Addr(noise.inside()));
            // Twice every entry that fits, each with its length, its string, and the way there.
            assert!(memory.reads < 16 * WORDS, "3.{}: {} reads", layout.minor, memory.reads);
        }
        println!("3.{}: {tables} tables, {of_instances} of instances, {entries} entries", layout.minor);
        assert!(
            tables > 0 && of_instances > 0 && entries > 0,
            "3.{}: noise must look like tables",
            layout.minor
        );
    }
}

/// How often each thing happened: noise that only faults proves nothing.
#[derive(Default, Debug)]
struct Seen {
    threads_found: u32,
    complete: u32,
    truncated: u32,
    torn: u32,
    unreadable: u32,
    deep: u32,
    codes: u32,
}

#[test]
fn noise_ends_within_bounds_on_every_layout() {
    let mut noise = Noise(42);
    for layout in layouts() {
        let mut memory = Memories { words: vec![0; WORDS], loaded: (0, 0), frame: (0, 0), reads: 0 };
        let mut seen = Seen::default();
        for round in 0..ROUNDS_PER_LAYOUT {
            let changes = if round % 4096 == 0 { WORDS } else { CHANGES };
            for _ in 0..changes {
                let (at, word) = (noise.below(WORDS as u64) as usize, noise.word());
                memory.words[at] = word;
            }
            memory.reads = 0;

            let runtime = Addr(noise.inside());
            let mut thread = revisit(&mut memory, &layout, Addr(noise.word()), THREAD).ok().flatten();
            if let Ok(Some(mut walk)) = ThreadWalk::begin(&mut memory, &layout, runtime) {
                // Every other time as the kernel does it where there are several interpreters.
                let mut nested = Nested::default();
                nested.begin(noise.word(), Addr(noise.word()));
                for _ in 0..MAX_THREADS {
                    let step = if round % 2 == 0 {
                        nested.step(&mut walk, &mut memory, &layout, THREAD)
                    } else {
                        walk.step(&mut memory, &layout, THREAD)
                    };
                    if !matches!(step, Ok(WalkStep::More)) {
                        break;
                    }
                }
                let held = nested.holding(noise.word());
                if !held.is_null() {
                    let _ = Nested::settle(&mut walk, &mut memory, &layout, held);
                }
                thread = Some(walk.best()).filter(|best| !best.address.is_null()).or(thread);
                if let Ok(Some(mut walk)) = ThreadWalk::begin(&mut memory, &layout, runtime) {
                    let listed =
                        (0..MAX_THREADS).map_while(|_| walk.list(&mut memory, &layout).ok().flatten());
                    assert!(listed.count() <= MAX_THREADS);
                }
            }
            // As if it had been found: otherwise frames would be few.
            let mut thread = thread.unwrap_or_default();
            seen.threads_found += u32::from(!thread.address.is_null());
            if thread.address.is_null() {
                thread.address = Addr(noise.inside());
                thread.frame = Addr(noise.word());
                thread.leaf = Addr(noise.word());
                (thread.datastack_top, thread.datastack_limit) = (Addr(noise.word()), Addr(noise.word()));
            }
            let candidate = Addr(noise.word());
            let walks = [
                Walk::begin(&mut memory, &layout, &thread),
                Walk::retry_frame(&mut memory, &layout, &thread, candidate),
                Walk::retry_cframe(&mut memory, &layout, &thread, candidate),
            ];
            for walk in walks.into_iter().flatten() {
                memory.reads = 0;
                let mut stack = Stack::default();
                match drive(walk, &mut memory, &layout, &mut stack) {
                    Outcome::Complete => seen.complete += 1,
                    Outcome::Truncated => seen.truncated += 1,
                    Outcome::Torn => seen.torn += 1,
                    Outcome::Unreadable => seen.unreadable += 1,
                    other => panic!("a frame walk does not end in {other:?}"),
                }
                assert!(stack.frames.len() <= MAX_FRAMES);
                // A frame, its code object and name, a cframe and its frame.
                assert!(memory.reads <= MAX_STEPS * 5, "{} reads", memory.reads);
                seen.deep += u32::from(stack.frames.len() > 3);
            }

            let at = Addr(noise.word());
            let _ = code::check(&mut memory, &layout, at, 1);
            memory.reads = 0;
            if let Ok(object) = CodeObject::read(&mut memory, &layout, at) {
                seen.codes += 1;
                object.lines.line(noise.next() as i32);
            }
            assert!(memory.reads < 64 + WORDS, "{} reads of a code object", memory.reads);
        }
        println!("3.{}: {seen:?}", layout.minor);
        let Seen { threads_found, complete, truncated, torn, unreadable, deep, codes } = seen;
        for count in [threads_found, complete, truncated, torn, unreadable, deep, codes] {
            assert!(count > 0, "3.{}: {seen:?}", layout.minor);
        }
    }
}
