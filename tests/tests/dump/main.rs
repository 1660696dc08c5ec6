//! `dump` held against what the interpreter itself says of its stacks, and what it says where it cannot show any.

mod exits;
mod locals;
mod parked;
