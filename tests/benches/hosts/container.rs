//! A container by runc, without an engine and without an image: a tree of files, and the control group that a kubelet
//! would name.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pyprof_host::{Change, Held, Journal};
use serde_json::json;

use crate::host::{Ask, Expected, Host, sources};
use crate::rows::Row;

const POD: &str = "8712f785-1a3e-41ec-a00b-e2dcc77431cb";

/// `argv` is runc and the interpreter inside; the tree stays as it is, but for what is mounted on its /tmp.
pub fn runc(row: &Row) -> Result<Host, String> {
    let (Some(root), [runc, python]) = (&row.root, &row.argv[..]) else {
        return Err("no root, or no interpreter in it".to_owned());
    };
    let scratch = sources();
    let (bundle, state) = (scratch.path().join("bundle"), scratch.path().join("state"));
    std::fs::create_dir(&bundle).map_err(|error| error.to_string())?;
    let spec = Command::new(runc).arg("spec").arg("--bundle").arg(&bundle).status();
    if !spec.is_ok_and(|status| status.success()) {
        return Err("failed to run runc spec".to_owned());
    }
    let id = format!("{:08x}", std::process::id()).repeat(8);
    let top = format!("pyprof-hosts-{}", std::process::id());
    configure(
        &bundle.join("config.json"),
        root,
        python,
        scratch.path(),
        &format!("/{top}/kubepods/burstable/pod{POD}/{id}"),
    )?;
    let mut command = Command::new(runc);
    let pid_file = scratch.path().join("pid");
    command.arg("--root").arg(&state).arg("run").arg("--bundle").arg(&bundle);
    command.arg("--pid-file").arg(&pid_file).arg(&id);
    let expected = Expected {
        name: "app",
        workers: 1,
        labels: vec![("container_id", id.clone()), ("pod_uid", POD.to_owned())],
        // That is runc itself.
        others: 1,
        others_without_python: true,
        pid_file: Some(pid_file.clone()),
    };
    let held = note_groups(&top).map_err(|error| format!("{error:#}"))?;
    let mut host = Host::start(command, scratch, Ask::Line, expected);
    let runc = runc.clone();
    host.last = Some(Box::new(move || {
        let mut delete = Command::new(runc);
        delete.arg("--root").arg(state).args(["delete", "--force", &id]);
        // A container that ended by itself is gone already.
        let _ = delete.stdout(Stdio::null()).stderr(Stdio::null()).status();
        drop(held);
    }));
    Ok(host)
}

fn configure(file: &Path, root: &Path, python: &str, app: &Path, group: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("no specification: {error}"))?;
    let mut spec: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!([python, "/tmp/app.py"]);
    spec["process"]["env"] = json!(["PATH=/usr/bin", "PYTHONDONTWRITEBYTECODE=1"]);
    spec["root"] = json!({ "path": root, "readonly": true });
    spec["linux"]["cgroupsPath"] = json!(group);
    let mounts = spec["mounts"].as_array_mut().ok_or("a specification without mounts")?;
    mounts.push(json!({ "destination": "/tmp", "type": "bind", "source": app, "options": ["bind", "ro"] }));
    std::fs::write(file, spec.to_string()).map_err(|error| error.to_string())
}

/// The group that runc will make in each hierarchy that the host has (v1, v2, hybrid).
fn note_groups(top: &str) -> anyhow::Result<Vec<Held>> {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(base)?.flatten().map(|entry| entry.path()).chain([base.into()]);
    let hierarchies = hierarchies.filter(|hierarchy| hierarchy.join("cgroup.procs").exists());
    let note = |hierarchy: PathBuf| Journal::of_host().note(Change::Group { path: hierarchy.join(top) });
    hierarchies.map(note).collect()
}
