//! What only user space needs: version tables, debug offsets, code objects, strings, line tables.

pub mod code_object;
pub mod debug_offsets;
pub mod lines;
pub mod strings;
pub mod versions;
