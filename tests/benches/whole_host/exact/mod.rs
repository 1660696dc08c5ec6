//! What holds whatever else the host does: it decides.

mod held;
mod killed;
mod plugged;
