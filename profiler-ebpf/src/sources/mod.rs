//! What makes a tick: one file per source.

mod cpu;
