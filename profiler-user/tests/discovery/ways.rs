//! Ways to run an interpreter that is a file like any other: by another name, through the loader, without a name, through
//! a file system that shows other numbers.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{PARK, Parked, Scratch, pyenv};

/// A static build and two that map a libpython.
fn pythons() -> [PathBuf; 3] {
    ["/usr/bin/python3.11".into(), pyenv("3.9.18"), pyenv("3.13.0")]
}

fn home(python: &Path) -> &Path {
    python.parent().and_then(Path::parent).expect("PREFIX/bin/PROGRAM")
}

/// The interpreter says what and where it is; so must the inspection.
fn check(way: &str, python: &Path, command: &mut Command) {
    let parked = Parked::start(command.env("PYTHONHOME", home(python)).args(["-c", PARK]));
    assert!(!parked.said.is_empty(), "{way}, {}: it did not start", python.display());
    parked.check(&parked.python());
}

#[test]
fn through_the_loader() {
    for python in pythons() {
        let mut command = Command::new("/lib64/ld-linux-x86-64.so.2");
        check("ld.so", &python, command.arg(&python));
    }
}

#[test]
fn renamed_and_removed() {
    for python in pythons() {
        let directory = Scratch::new("deleted");
        let (copy, renamed) = (directory.0.join("odd \n name"), directory.0.join("gone (deleted)"));
        fs::copy(&python, &copy).unwrap();
        let parked = Parked::start(Command::new(&copy).env("PYTHONHOME", home(&python)).args(["-c", PARK]));
        fs::rename(&copy, &renamed).unwrap();
        fs::remove_file(&renamed).unwrap();
        parked.check(&parked.python());
    }
}

#[test]
fn from_memory_without_a_name() {
    for python in pythons() {
        let name = CString::new("nothing").unwrap();
        // SAFETY: a valid name; the descriptor is checked and handed to `File`.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), 0) };
        assert!(fd >= 0);
        // SAFETY: a fresh descriptor that nobody else owns.
        let mut file: fs::File = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
        file.write_all(&fs::read(&python).unwrap()).unwrap();
        check("memfd", &python, &mut Command::new(format!("/proc/self/fd/{fd}")));
    }
}

#[test]
fn through_an_overlay_in_a_mount_namespace_of_its_own() {
    for python in pythons() {
        let directory = Scratch::new("overlay");
        let at = |name: &str| CString::new(directory.0.join(name).to_str().unwrap()).unwrap();
        for name in ["upper", "work", "merged"] {
            fs::create_dir_all(directory.0.join(name)).unwrap();
        }
        let lower = if python.starts_with("/usr") { Path::new("/usr/bin") } else { home(&python) };
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            at("upper").to_str().unwrap(),
            at("work").to_str().unwrap()
        );
        let (merged, options) = (at("merged"), CString::new(options).unwrap());
        let program = directory.0.join("merged").join(python.strip_prefix(lower).unwrap());
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", directory.0.join("merged/lib"));
        // SAFETY: system calls only, with strings made before the fork.
        unsafe {
            command.pre_exec(move || {
                let none = std::ptr::null();
                let private = libc::MS_REC | libc::MS_PRIVATE;
                let kind = c"overlay".as_ptr();
                if libc::unshare(libc::CLONE_NEWNS) != 0
                    || libc::mount(none, c"/".as_ptr(), none, private, none.cast()) != 0
                    || libc::mount(kind, merged.as_ptr(), kind, 0, options.as_ptr().cast()) != 0
                {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        check("overlay", &python, &mut command);
    }
}
