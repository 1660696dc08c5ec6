//! What only user space needs: version tables, debug offsets, code objects, strings, line tables,
//! dictionaries and what is in them.

pub mod bounded;
pub mod code_object;
pub mod debug_offsets;
pub mod dict;
pub mod lines;
pub mod stacks;
pub mod strings;
pub mod thread_names;
pub mod values;
pub mod versions;
