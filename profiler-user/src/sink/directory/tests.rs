//! Tests of the output directory: what it refuses, what it leaves behind, who can read it.

use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

/// A directory of its own for each test, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pyprof-sink-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn files_are_whole_private_and_without_leftovers() {
    let scratch = Scratch::new("whole");
    let path = scratch.0.join("out");
    let out = OutputDirectory::create(&path, None).unwrap();
    out.write("app.py-7.pb.gz", b"bytes").unwrap();
    assert_eq!(fs::read(path.join("app.py-7.pb.gz")).unwrap(), b"bytes");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(path.join("app.py-7.pb.gz")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

#[test]
fn what_is_no_empty_directory_is_refused() {
    let scratch = Scratch::new("refused");
    let at = |name: &str| scratch.0.join(name);
    fs::write(at("file"), "").unwrap();
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/.hidden"), "").unwrap();
    fs::create_dir(at("empty")).unwrap();
    symlink(at("empty"), at("link")).unwrap();
    symlink("/nowhere", at("dangling")).unwrap();
    let rows = [
        ("empty", None),
        ("file", Some("not a directory")),
        ("full", Some("not empty")),
        ("link", Some("symbolic link")),
        ("link/", Some("symbolic link")),
        ("dangling", Some("symbolic link")),
        ("a/b", Some("failed to create directory")),
        ("bad\x1b\n", None),
        ("file/bad\x1b", Some("\\x1b")),
    ];
    for (name, expected) in rows {
        let got = OutputDirectory::create(&at(name), None).map(|_| ()).map_err(|error| error.to_string());
        match (&got, expected) {
            (Ok(()), None) => {}
            (Err(error), Some(expected)) if error.contains(expected) && !error.contains('\x1b') => {}
            _ => panic!("{name:?}: {got:?}"),
        }
    }
}

#[test]
fn one_failing_file_names_its_path_and_stops_no_other() {
    let scratch = Scratch::new("failing");
    let path = scratch.0.join("out");
    let out = OutputDirectory::create(&path, None).unwrap();
    let full = || io::Error::from_raw_os_error(libc::ENOSPC);
    let error = out.write_with("a", |file| file.write_all(b"half").and_then(|()| Err(full()))).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("out/a") && message.contains("No space left"), "{message}");
    for name in ["", ".", "..", "../a", "a/b", "/etc/x", "a\0b"] {
        assert!(out.write(name, b"").is_err(), "{name:?}");
    }
    // A file or link that somebody else put there is neither followed nor replaced.
    symlink(scratch.0.join("victim"), path.join("b")).unwrap();
    symlink(scratch.0.join("victim"), path.join(".c.tmp")).unwrap();
    assert!(out.write("b", b"x").is_err());
    // The temporary name is needed where a file system has no files without a name.
    let c_is_written = out.write("c", b"x").is_ok();
    assert!(!scratch.0.join("victim").exists());
    out.write("d", b"x").unwrap();
    let mut left: Vec<_> =
        fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left.iter().any(|name| name == "c"), c_is_written);
    left.retain(|name| name != "c");
    assert_eq!(left, [".c.tmp", "b", "d"]);
}

#[test]
fn a_replaced_path_redirects_nothing() {
    let scratch = Scratch::new("replaced");
    let (path, moved, trap) = (scratch.0.join("out"), scratch.0.join("moved"), scratch.0.join("trap"));
    let out = OutputDirectory::create(&path, None).unwrap();
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&trap).unwrap();
    symlink(&trap, &path).unwrap();
    out.write("a", b"x").unwrap();
    assert!(moved.join("a").exists() && !trap.join("a").exists());
}

#[test]
fn output_belongs_to_who_called_sudo() {
    let rows = [
        (0, Some(1000), Some(1001), Some(Owner { uid: 1000, gid: 1001 })),
        (0, Some(0), Some(0), None),
        (0, None, Some(1), None),
        (0, Some(u32::MAX), Some(1), None),
        (1000, Some(0), Some(0), None),
        (1000, Some(1001), Some(1001), None),
    ];
    for (euid, uid, gid, expected) in rows {
        assert_eq!(Owner::of_sudo(euid, uid, gid), expected);
    }
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("sudo");
    let path = scratch.0.join("out");
    let out = OutputDirectory::create(&path, Some(Owner { uid: 65_534, gid: 65_533 })).unwrap();
    out.write("a", b"x").unwrap();
    for path in [path.clone(), path.join("a")] {
        let metadata = fs::metadata(path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (65_534, 65_533));
    }
    // An existing directory keeps its owner; only what is written into it changes hands.
    let existing = scratch.0.join("existing");
    fs::create_dir(&existing).unwrap();
    fs::set_permissions(&existing, Permissions::from_mode(0o755)).unwrap();
    OutputDirectory::create(&existing, Some(Owner { uid: 65_534, gid: 65_533 })).unwrap();
    assert_eq!(fs::metadata(&existing).unwrap().uid(), 0);
}
