//! Core files: the kernel's and `gcore`'s, whole, cut short and spoilt.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use pyprof_tests::dump::{PARKED, check, dump, dumped, telling};
use pyprof_tests::pythons::python;
use pyprof_tests::{Python, Scratch, Target, pythons};
use serde_json::Value;

/// The core that the kernel writes when a target calls `abort`, and what the target has said before.
fn aborted(python: &Python, scratch: &Scratch) -> (PathBuf, Value) {
    let script = scratch.path().join("target.py");
    fs::write(&script, PARKED).expect("the script");
    let mut command = Command::new(&python.path);
    command.arg(&script).arg("abort").current_dir(scratch.path());
    // SAFETY: setrlimit is async-signal-safe; the limit is a valid one.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
            libc::setrlimit(libc::RLIMIT_CORE, &limit);
            Ok(())
        });
    }
    let mut target = Target::command(command);
    let told: Value = serde_json::from_str(&target.line()).expect("JSON");
    target.tell("now");
    let status = target.ended();
    assert!(status.core_dumped(), "{python}: {status}");
    let mut cores = fs::read_dir(scratch.path()).expect("ours").flatten().map(|entry| entry.path());
    let core =
        cores.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")));
    (core.expect("a core"), told)
}

/// Whether the kernel writes cores to the directory of the process.
fn kernel_writes_files() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    pattern.starts_with("core")
}

fn gcore(target: &Target, scratch: &Scratch) -> PathBuf {
    let prefix = scratch.path().join("core");
    let made = Command::new("gcore").arg("-o").arg(&prefix).arg(target.pid().to_string()).output();
    let made = made.expect("gcore is needed: apt-get install gdb");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    prefix.with_extension(target.pid().to_string())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

#[test]
fn a_core_of_the_kernel_has_the_stacks_that_the_process_had() {
    if !kernel_writes_files() {
        println!("the kernel hands cores to a program here: only those of gcore are tested");
        return;
    }
    for python in pythons() {
        let scratch = Scratch::new("core");
        let (core, told) = aborted(&python, &scratch);
        let process = dumped(&["--json", "--core", text(&core)]);
        // Its first thread has gone on to `abort`, on another line of the same function.
        let mut told = told;
        let main = told.as_array_mut().expect("threads").last_mut().expect("the first thread");
        let line = main["stacks"][0][0][2].as_u64().expect("a line") + 2;
        main["stacks"][0][0][2] = line.into();
        let mut process = process;
        for thread in process["threads"].as_array_mut().expect("threads") {
            if thread["tid"] == main["tid"] {
                assert_eq!(thread["stacks"][0]["gil"], "holds", "{python}");
                thread["stacks"][0]["gil"] = Value::Null;
            }
        }
        check(&format!("{python}, from a core"), &told, &process, false);
        assert_eq!((&process["signal"], &process["python_version"]), (&6.into(), &python.version.into()));
    }
}

#[test]
fn a_core_of_gcore_is_as_good_and_a_spoilt_one_harms_nobody() {
    let python = python(12);
    let scratch = Scratch::new("gcore");
    let (target, told) = telling(&python, PARKED, &[]);
    let core = gcore(&target, &scratch);
    drop(target);
    check(&format!("{python}, by gcore"), &told, &dumped(&["--json", "--core", text(&core)]), false);

    // Moved to a host that has the program elsewhere: the core names what is not there.
    let mut bytes = fs::read(&core).expect("the core");
    let library = format!("libpython3.{}.so.1.0", python.minor);
    let elsewhere = python.path.ancestors().nth(2).expect("a prefix").join("lib").join(&library);
    let name = library.as_bytes();
    let places: Vec<usize> = bytes
        .windows(name.len())
        .enumerate()
        .filter(|(_, window)| *window == name)
        .map(|(at, _)| at)
        .collect();
    for at in places {
        bytes[at..at + 3].copy_from_slice(b"xyz");
    }
    let moved = scratch.path().join("moved");
    fs::write(&moved, &bytes).expect("a copy");
    let lost = dump(&["--core", text(&moved)]);
    assert_eq!(lost.status.code(), Some(5), "{}", String::from_utf8_lossy(&lost.stderr));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("--executable"));
    let link = scratch.path().join(library.replace("lib", "xyz"));
    std::os::unix::fs::symlink(&elsewhere, &link).expect("a link");
    let found = dumped(&["--json", "--core", text(&moved), "--executable", text(&link)]);
    check(&format!("{python}, moved"), &told, &found, false);
    // Another build under the same name is not what ran.
    fs::remove_file(&link).expect("ours");
    fs::copy("/bin/true", &link).expect("a copy");
    let other = dump(&["--core", text(&moved), "--executable", text(&link)]);
    assert_eq!(other.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&other.stderr).contains("another build"));
    drop(bytes);

    // Cut short, and with every word of its head changed.
    let file = fs::File::options().write(true).open(&moved).expect("ours");
    let whole = fs::read(&core).expect("the core");
    for kept in [0, 1, 63, 64, 100, 4096, 100_000, whole.len() / 2] {
        fs::write(&moved, &whole[..kept]).expect("a copy");
        ends_well(&moved, &format!("{kept} bytes"));
    }
    fs::write(&moved, &whole).expect("a copy");
    use std::os::unix::fs::FileExt;
    for word in (0..40).map(|word| word * 8) {
        for value in [0, u64::MAX, 1 << 40, 0xffff_ffff_0000_ffff] {
            let value: u64 = value;
            file.write_all_at(&value.to_le_bytes(), word).expect("ours");
            ends_well(&moved, &format!("{value:#x} at {word}"));
        }
        let at = word as usize;
        file.write_all_at(&whole[at..at + 8], word).expect("ours");
    }
}

fn ends_well(core: &Path, row: &str) {
    let output = dump(&["--core", text(core)]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1 | 5)), "{row}: {:?}: {stderr}", output.status);
    assert!(!stderr.contains("panicked"), "{row}: {stderr}");
}
