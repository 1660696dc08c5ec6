//! Counters that the programs keep per CPU. Each has a name for the output and a sentence for the docs.

use pyunwind::Outcome;

macro_rules! stats {
    ($($variant:ident = $value:literal, $name:literal, $help:literal;)*) => {
        /// Index into the `STATS` map.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Stat { $($variant = $value,)* }

        impl Stat {
            pub const ALL: &[Stat] = &[$(Stat::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Stat::$variant => $name,)* }
            }

            pub const fn help(self) -> &'static str {
                match self { $(Stat::$variant => $help,)* }
            }
        }
    };
}

stats! {
    Delivered = 0, "delivered", "ticks counted by the first, trivial program";
    Idle = 1, "idle", "ticks on an idle CPU";
    Other = 2, "other", "ticks on a process that is not a followed Python process";
    NotChained = 3, "not_chained", "ticks on which the second program could not be called";
    NoScratch = 4, "no_scratch", "ticks on which the per-CPU scratch memory was busy or missing";
    SampleRingFull = 5, "sample_ring_full", "samples that found no room in the ring";
    SampleRingFullNs = 6, "sample_ring_full_ns", "weight of those samples";
    CodeRingFull = 7, "code_ring_full", "code records that found no room in the ring; they are sent again";
    LifecycleRingFull = 8, "lifecycle_ring_full", "exec, fork and exit events that found no room in the ring";
    ProcessTableFull = 9, "process_table_full", "processes that found no room in the process table";
    HintFailed = 10, "hint_failed", "thread hints that could not be stored";
    UnsampledNs = 11, "unsampled_ns", "time beyond ten periods between two ticks on one CPU";
    CodeSent = 12, "code_sent", "code objects captured in the kernel";
    CodeDeferred = 13, "code_deferred", "new code objects left to later samples by the cap per sample";
    CodeUnreadable = 14, "code_unreadable", "code objects whose names or lines could not be read in the kernel";
    SamplerNs = 15, "sampler_ns", "time spent in the sampling program";
    HintHit = 16, "hint_hit", "threads found through a hint";
    ThreadSteps = 17, "thread_steps", "thread states looked at";
    PythonNs = 18, "python_ns", "weight of all ticks on Python processes";
    Restarted = 19, "restarted", "stacks whose leaf was stale and that were read from the last settled frame";
    Retried = 21, "retried", "torn stacks that were read again from a cframe found in a register";
    LeftOut = 22, "left_out", "ticks on Python processes that were not selected: none of them was unwound";
    StaleRecord = 20, "stale_record", "ticks on a process whose record belonged to an earlier image";
    OffCpuReturnUnseen = 23, "off_cpu_return_unseen", "returns of threads to a CPU that no event told of; the scheduler's clock says when";
    InterpreterUnsure = 24, "interpreter_unsure", "samples of threads that run one of several interpreters, none of which was seen on the C stack";
    OffCpuTableFull = 25, "off_cpu_table_full", "switches of threads that found no room in the table of threads off CPU";
    OffCpuRingFull = 26, "off_cpu_ring_full", "off-CPU samples that found no room in the ring";
    OffCpuRingFullNs = 27, "off_cpu_ring_full_ns", "weight of those samples";
    OffCpuStackLost = 28, "off_cpu_stack_lost", "stacks of blocked threads that found no room in the ring";
    OffCpuThreadLost = 29, "off_cpu_thread_lost", "accounts of ended threads that found no room in the ring";
    OffCpuSent = 30, "off_cpu_sent", "off-CPU samples put on the ring";
    OffCpuWalks = 31, "off_cpu_walks", "stacks walked when a thread blocked";
}

/// Outcomes follow the other counters.
pub const OUTCOME_BASE: u32 = 32;
pub const STATS_LEN: u32 = OUTCOME_BASE + Outcome::ALL.len() as u32;
