//! Who a process is: its name, and the labels under which its owner looks for it.

use super::cgroup::{Cgroup, cgroup};
use super::environ::{Service, service};
use super::name::process_name;
use super::scan;

/// Read once when a process is identified; what is forked from it is the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Of its script, module or program; empty where it is gone already.
    pub name: String,
    /// As its environment says; `None` where it says nothing, and the name has to do.
    pub service: Option<String>,
    pub env: Option<String>,
    pub version: Option<String>,
    pub container_id: Option<String>,
    pub pod_uid: Option<String>,
    pub unit: Option<String>,
    /// What the kernel calls it.
    pub comm: String,
}

/// What can be learnt of a live process: a part that cannot be read is left out. `task` may be any live thread of it.
pub fn identity(task: u32) -> Identity {
    let name = process_name(task).unwrap_or_default();
    let Service { service, env, version } = service(task).unwrap_or_default();
    let Cgroup { container_id, pod_uid, unit } = cgroup(task).unwrap_or_default();
    let comm = scan::comm(task).unwrap_or_default();
    Identity { name, service, env, version, container_id, pod_uid, unit, comm }
}
