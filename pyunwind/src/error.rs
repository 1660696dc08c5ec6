//! Every way in which a stack can end, by name. Discriminants are wire format: append, never renumber.

/// A read of target memory that did not work: unmapped, paged out, misaligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident = $value:literal, $name:literal;)*) => {
        /// What became of one sample. Exactly one per tick on a thread of a Python process.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Outcome { $($(#[$doc])* $variant = $value,)* }

        impl Outcome {
            pub const ALL: &[Outcome] = &[$(Outcome::$variant,)*];

            /// The name under which users see it, in capture.json and in pprof comments.
            pub const fn name(self) -> &'static str {
                match self { $(Outcome::$variant => $name,)* }
            }

            pub const fn from_u8(value: u8) -> Option<Outcome> {
                match value { $($value => Some(Outcome::$variant),)* _ => None }
            }
        }
    };
}

outcomes! {
    /// Leaf to root, every frame read.
    Complete = 0, "complete";
    /// Deeper than the limit: the leaf side is kept.
    Truncated = 1, "truncated";
    /// A thread of a Python process that runs no Python code.
    Native = 2, "native";
    /// The process has no thread state yet: before or during interpreter start.
    Starting = 3, "starting";
    /// A frame, thread state or code object could not be read (paged out or not mapped).
    Unreadable = 4, "unreadable";
    /// The links between frames contradict each other: the interrupt fell between two stores.
    Torn = 5, "torn";
    /// The thread state is there, but the thread was not found within the bounds of the walk.
    ThreadNotFound = 6, "thread_not_found";
    /// The process image is being replaced (exec) or is not known yet.
    Unknown = 7, "unknown";
}
