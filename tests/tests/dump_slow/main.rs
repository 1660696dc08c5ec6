//! `dump` of core files, whole and spoilt, and of processes that mean no good.

mod core;
mod hostile;
