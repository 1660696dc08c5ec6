//! What a process is selected by: who it is, whose it is, and where in the control groups. All of it may change while the
//! process lives, some of it (user, group) without an exec.

use super::identity::{Identity, identity};
use super::{cgroup, scan};

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Standing {
    pub identity: Identity,
    /// As whom it acts.
    pub uid: Option<u32>,
    /// Its control group in each hierarchy, each once.
    pub cgroups: Vec<String>,
}

/// What can be learnt of a live process: a part that cannot be read is left out. `task` may be any live thread of it.
pub fn standing(task: u32) -> Standing {
    Standing {
        identity: identity(task),
        uid: scan::effective_user(task),
        cgroups: cgroup::paths(task).unwrap_or_default(),
    }
}
