//! The text of `/proc/PID/cgroup`: labels that stand in it, of bounded length, whatever a container calls its groups.
#![no_main]

use std::fs;

use profiler_user::process::cgroup::{Cgroup, parse};
use pyprof_fuzz::alloc::within;
use pyprof_fuzz::target;

target!(seeds, check);

/// As long as a label may be.
const MOST_CHARS: usize = 200;
/// Each line and each element of a path is a slice; vectors double, and what is sorted is there once more.
const BYTES_PER_BYTE: usize = 80;

fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let cgroup = within(BYTES_PER_BYTE * text.len() + 4096, || parse(&text));
    let Cgroup { container_id, pod_uid, unit } = &cgroup;
    for (label, source) in
        [(container_id, text.clone()), (pod_uid, text.replace('_', "-").into()), (unit, text.clone())]
    {
        let Some(label) = label else { continue };
        let chars = label.chars().count();
        assert!((1..=MOST_CHARS).contains(&chars), "a label of {chars} characters");
        assert!(
            source.contains(label.as_str()) && !label.contains(['/', '\n']),
            "{label:?} is not in the text"
        );
    }
    if let Some(uid) = pod_uid {
        let digits = uid.bytes().filter(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        assert!(digits == 32 && [32, 36].contains(&uid.len()), "{uid:?} is no UID");
    }
    // A further hierarchy without a group adds nothing.
    assert_eq!(cgroup, parse(&format!("{text}\n99:misc:/\n")));
}

/// What runtimes write: one row for each scheme.
fn seeds() -> Vec<Vec<u8>> {
    let id = "0123456789abcdef".repeat(4);
    let uid = "01234567_89ab_cdef_0123_456789abcdef";
    let rows = [
        fs::read_to_string("/proc/self/cgroup").expect("own control groups"),
        format!("0::/system.slice/docker-{id}.scope\n"),
        format!("4:memory:/docker/{id}\n1:name=systemd:/docker/{id}/app.service\n0::/\n"),
        format!("0::/kubepods.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{id}.scope\n"),
        format!(
            "2:cpu:/system.slice/containerd.service/kubepods-besteffort-pod{uid}.slice:cri-containerd:{id}\n"
        ),
        format!("3:cpu:/ecs/{}-1234567890\n", &id[..32]),
        "0::/lxc.payload.name/system.slice/_x.service (deleted)\n1:cpu:/lxc/other name\n".to_owned(),
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope\n".to_owned(),
        format!("0::/../../machine.slice/libpod-conmon-{id}.scope\n"),
    ];
    rows.into_iter().map(String::into_bytes).collect()
}
