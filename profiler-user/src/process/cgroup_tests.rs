//! Paths as runtimes make them, and those that only look like it.

use super::*;
use std::process::{Child, Command, Stdio};

const ID: &str = "3f1b8c0a5d9e4726b1c8d7e6f5a4938271605f4e3d2c1b0a9f8e7d6c5b4a3928";
const OUTER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const UID: &str = "8712f785-1a3e-41ec-a00b-e2dcc77431cb";
const STATIC: &str = "73051af271105c07e1f493b34856a77e";
const ECS: &str = "41a5d4a4dd10426fb6ee6c25bbd56b33-3061733842";

/// In the rows, `ID` and so on stand for these.
fn filled(text: &str) -> String {
    let text = text.replace("UNDER", &UID.replace('-', "_"));
    [("OUTER", OUTER), ("STATIC", STATIC), ("ECS", ECS), ("UID", UID), ("ID", ID)]
        .into_iter()
        .fold(text, |text, (name, value)| text.replace(name, value))
}

/// `expected`: container, pod and unit; empty for none.
fn check(text: &str, expected: [&str; 3]) {
    let Cgroup { container_id, pod_uid, unit } = parse(&filled(text));
    let got = [container_id, pod_uid, unit].map(Option::unwrap_or_default);
    assert_eq!(got, expected.map(filled), "{text}");
}

#[test]
fn every_runtime_is_known_by_its_paths() {
    let rows = [
        // Docker, with cgroupfs and with systemd; an init of its own.
        ("/docker/ID", ["ID", "", ""]),
        ("/docker/ID/init", ["ID", "", ""]),
        ("/system.slice/docker-ID.scope", ["ID", "", ""]),
        ("/system.slice/docker-ID.scope/init", ["ID", "", ""]),
        // systemd inside of a container.
        ("/docker/ID/system.slice/nginx.service", ["ID", "", "nginx.service"]),
        // Docker in Docker, and kind: the innermost container is the one.
        ("/docker/OUTER/docker/ID", ["ID", "", ""]),
        (
            "/docker/OUTER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUNDER.slice/cri-containerd-ID.scope",
            ["ID", "UID", ""],
        ),
        // Kubernetes: containerd with systemd and without.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUNDER.slice/cri-containerd-ID.scope",
            ["ID", "UID", ""],
        ),
        (
            "/system.slice/containerd.service/kubepods-burstable-podUNDER.slice:cri-containerd:ID",
            ["ID", "UID", ""],
        ),
        ("/kubepods-besteffort-podUNDER.slice:cri-containerd:ID", ["ID", "UID", ""]),
        // CRI-O.
        ("/kubepods.slice/kubepods-podUNDER.slice/crio-ID.scope", ["ID", "UID", ""]),
        ("/kubepods.slice/kubepods-podUNDER.slice/crio-ID.scope/container", ["ID", "UID", ""]),
        ("/kubepods/besteffort/podUID/crio-ID", ["ID", "UID", ""]),
        // The kubelet's cgroupfs driver, static pods.
        ("/kubepods/besteffort/podUID/ID", ["ID", "UID", ""]),
        ("/kubepods/podUID/ID", ["ID", "UID", ""]),
        ("/kubepods/burstable/podSTATIC/ID", ["ID", "STATIC", ""]),
        ("/kubepods.slice/kubepods-burstable-podSTATIC.slice/docker-ID.scope", ["ID", "STATIC", ""]),
        // Podman.
        ("/machine.slice/libpod-ID.scope", ["ID", "", ""]),
        ("/machine.slice/libpod-ID.scope/container", ["ID", "", ""]),
        ("/machine.slice/machine-libpod_pod_OUTER.slice/libpod-ID.scope", ["ID", "", ""]),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            ["ID", "", ""],
        ),
        // ECS and Fargate.
        ("/ecs/STATIC/ID", ["ID", "", ""]),
        ("/ecs/UID/ID", ["ID", "", ""]),
        ("/ecs/STATIC/ECS", ["ECS", "", ""]),
        // LXC calls its containers by name.
        ("/lxc.payload.web1", ["web1", "", ""]),
        ("/lxc.payload.web1/system.slice/nginx.service", ["web1", "", "nginx.service"]),
        ("/lxc/web1", ["web1", "", ""]),
        ("/lxc.payload/web1/init.scope", ["web1", "", "init.scope"]),
        // Seen from within a cgroup namespace.
        ("/../../podUID/ID", ["ID", "UID", ""]),
        ("/../cri-containerd-ID.scope", ["ID", "", ""]),
        ("/../../../system.slice/docker-ID.scope", ["ID", "", ""]),
        // A group that was removed meanwhile.
        ("/docker/ID (deleted)", ["ID", "", ""]),
    ];
    for (path, expected) in rows {
        check(&format!("0::{path}\n"), expected);
        check(&format!("12:pids:/\n4:memory:{path}\n1:name=systemd:{path}\n0::/\n"), expected);
    }
}

#[test]
fn units_are_those_of_systemd() {
    let rows = [
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service"),
        // Groups that a service made for itself do not change its name.
        ("/system.slice/app.service/workers/other.service", "app.service"),
        ("/system.slice/_cgroup.service", "cgroup.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/user.slice/user-1000.slice/user@1000.service", "user@1000.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-sync.service", "app-sync.service"),
        ("/init.scope", "init.scope"),
        ("/../../../app.service", "app.service"),
        // A carriage return is a part of a name, which does not end in `.service` then.
        ("/system.slice/app.service\r", ""),
    ];
    for (path, unit) in rows {
        check(&format!("0::{path}\n"), ["", "", unit]);
        check(&format!("5:devices:{path}\n1:name=systemd:{path}\n0::/\n"), ["", "", unit]);
    }
}

#[test]
fn what_only_looks_like_a_container_is_none() {
    let rows = [
        // Who watches over a container is not in it.
        ("/machine.slice/libpod-conmon-ID.scope", ["", "", "libpod-conmon-ID.scope"]),
        ("/kubepods.slice/kubepods-podUNDER.slice/crio-conmon-ID.scope", ["", "UID", "crio-conmon-ID.scope"]),
        ("/kubepods/podUID/crio-conmon-ID", ["", "UID", ""]),
        ("/lxc.monitor.web1", ["", "", ""]),
        // UUIDs.
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-UID.scope",
            ["", "", "vte-spawn-UID.scope"],
        ),
        ("/garden/UID", ["", "", ""]),
        ("/UID", ["", "", ""]),
        // Too long, too short, not hexadecimal, not a number.
        ("/docker/0ID", ["", "", ""]),
        ("/docker/ID0", ["", "", ""]),
        ("/docker/xID", ["", "", ""]),
        ("/docker/STATIC", ["", "", ""]),
        ("/ecs/STATIC-", ["", "", ""]),
        ("/ecs/STATIC-12x", ["", "", ""]),
        ("/ecs/0STATIC-12", ["", "", ""]),
        ("/system.slice/ID.service", ["", "", "ID.service"]),
        ("/machine-libpod_pod_ID.slice", ["", "", ""]),
        ("/tripod1234", ["", "", ""]),
        ("/lxc.payload.", ["", "", ""]),
        ("/lxc", ["", "", ""]),
        ("/", ["", "", ""]),
        ("", ["", "", ""]),
    ];
    for (path, expected) in rows {
        check(&format!("0::{path}\n"), expected);
    }
    let upper = ID.to_uppercase();
    check(&format!("0::/docker/{upper}"), ["", "", ""]);
}

#[test]
fn the_hierarchy_that_knows_most_decides() {
    let rows = [
        // A hybrid host: the unified hierarchy shows nothing, or the runtime's own unit.
        ("2:memory:/docker/ID\n1:name=systemd:/\n0::/\n", ["ID", "", ""]),
        ("1:name=systemd:/docker/ID\n0::/system.slice/containerd.service\n", ["ID", "", ""]),
        ("9:cpuset:/docker/ID\n1:name=systemd:/system.slice/docker.service\n0::/\n", ["ID", "", ""]),
        ("4:memory:/docker/OUTER\n1:name=systemd:/docker/ID\n", ["ID", "", ""]),
        ("4:cpu,cpuacct:/docker/OUTER\n3:memory:/docker/ID\n", ["ID", "", ""]),
        (
            "4:memory:/user.slice\n1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n",
            ["", "", "b.service"],
        ),
        // Not what the kernel prints.
        ("", ["", "", ""]),
        ("\n\n::\n:\n", ["", "", ""]),
        ("/docker/ID\n", ["", "", ""]),
        ("0:/docker/ID\n", ["", "", ""]),
        ("0::/docker/\u{fffd}ID\n", ["", "", ""]),
    ];
    for (text, expected) in rows {
        check(text, expected);
    }
    let long = parse(&format!("0::/{}.service", "x".repeat(4000)));
    assert_eq!(long.unit.map(|unit| unit.len()), Some(MAX_LABEL_CHARS));
}

/// A control group of our own with a process in it; both go with it.
struct Parked {
    child: Child,
    made: Vec<std::path::PathBuf>,
}

impl Drop for Parked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for path in self.made.iter().rev() {
            let _ = std::fs::remove_dir(path);
        }
    }
}

#[test]
fn a_live_process_in_such_a_group_is_recognised() {
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("not run: only root may make control groups");
        return;
    }
    // systemd's own hierarchy of a hybrid host, or the unified one.
    let roots = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
    let root = roots.into_iter().find(|root| std::path::Path::new(root).join("cgroup.procs").exists());
    let root = root.unwrap_or_else(|| panic!("no control groups are mounted: {roots:?}"));
    let child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let mut parked = Parked { child, made: Vec::new() };
    let pid = parked.child.id();
    let before = cgroup(pid).unwrap();
    assert_eq!(before.container_id, None, "{before:?}");
    let id = format!("{pid:064x}");
    let mut path = std::path::PathBuf::from(root);
    for element in [format!("pyprof-test-{pid}"), format!("pod{UID}"), id.clone()] {
        path.push(element);
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        parked.made.push(path.clone());
    }
    std::fs::write(path.join("cgroup.procs"), pid.to_string()).unwrap();
    let got = cgroup(pid).unwrap();
    assert_eq!((got.container_id, got.pod_uid), (Some(id), Some(UID.into())));
    drop(parked);
    assert!(cgroup(pid).is_err());
}
