//! Programs that say they are a CPython 3.13 and whose structures are forged: `targets/forge.c`. Where fields are comes from
//! a real interpreter's own `_Py_DebugOffsets`, so that what is refused is refused for what was forged.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pyprof_host::Held;
use pyprof_tests::limits::Limits;
use pyprof_tests::pythons::python;
use pyprof_tests::target::pin;
use pyprof_tests::{Capture, Scratch, Target};

use crate::beside::{Control, HOSTILE_CPU};

/// Of the honest neighbour.
const WORK_MS: u32 = 1000;
/// `sizeof(_Py_DebugOffsets)` of 3.13.
const TABLE_BYTES: usize = 584;
/// Of a name or a path: `pyunwind::host::code_object::MAX_CHARS`, each of them escaped as `\x00`.
const MAX_SHOWN_BYTES: usize = 4096 * 4 + 64;
const READ_TABLE: &str = "import ctypes\n\
    at = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, '_PyRuntime'))\n\
    print(ctypes.string_at(at, 584).hex())";

pub struct Forge {
    _scratch: Scratch,
    pub program: PathBuf,
}

/// What the table of a real interpreter says.
pub fn table() -> Vec<u8> {
    let output = Command::new(&python(13).path).args(["-c", READ_TABLE]).output().expect("3.13 runs");
    let hex = String::from_utf8(output.stdout).expect("text");
    let digits = hex.trim().as_bytes().chunks(2);
    let table: Vec<u8> = digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("hex"), 16).expect("hex"))
        .collect();
    assert_eq!(table.len(), TABLE_BYTES);
    table
}

pub fn build() -> Forge {
    let scratch = Scratch::new("forge");
    let at = |name: &str| scratch.path().join(name);
    let numbers: Vec<String> = table().iter().map(u8::to_string).collect();
    std::fs::write(at("table.h"), format!("#define TABLE {}\n", numbers.join(","))).expect("the table");
    std::fs::write(at("forge.c"), include_str!("../../targets/forge.c")).expect("the source");
    let program = at("forge");
    let built = Command::new("gcc").args(["-O1", "-pthread", "-o"]).args([&program, &at("forge.c")]).status();
    assert!(built.expect("gcc is needed").success());
    Forge { _scratch: scratch, program }
}

fn start(forge: &Forge, mode: &str, limits: &Limits) -> Target {
    let mut command = Command::new(&forge.program);
    command.arg(mode);
    limits.enter(&mut command);
    let mut target = Target::command(command);
    target.pin(HOSTILE_CPU);
    // Not before it is on its CPU.
    target.tell("go");
    target.line();
    target
}

/// The outcomes that samples of the process must have had, each of them and no other, and what a frame of it must say: the
/// name of what was refused, or what is left of a name or line that is shown in part.
fn check(control: Control, forge: &Forge, mode: &str, outcomes: &[&str], says: &str) -> Capture {
    let limits = Limits::new("forge", 100, 512 << 20);
    let target = start(forge, mode, &limits);
    let capture = control.check(mode, WORK_MS, || ());
    let process = capture.process(target.pid());
    println!("{mode}: {}", process["outcomes"]);
    for (name, count) in process["outcomes"].as_object().expect("outcomes") {
        let count = count.as_u64().expect("a count");
        // What user space finds at the end of long lists comes late, on a busy machine after the last sample.
        if count == 0 && name == "native" {
            continue;
        }
        assert_eq!(count != 0, outcomes.contains(&name.as_str()), "{mode}: {name}: {process}");
    }
    let profile = capture.profile_of(process);
    let frames: BTreeSet<String> = profile
        .samples
        .iter()
        .flat_map(|sample| &sample.frames)
        .map(|frame| format!("{} {}:{}", frame.name, frame.file, frame.line))
        .collect();
    assert!(frames.iter().any(|frame| frame.contains(says)), "{mode}: no {says}: {frames:.2000?}");
    let longest = frames.iter().map(String::len).max();
    assert!(longest <= Some(2 * MAX_SHOWN_BYTES), "{mode}: a frame of {longest:?} bytes");
    capture
}

#[test]
fn forged_structures_harm_nobody() {
    let (control, forge) = (Control::get(), build());
    let capture = check(control, &forge, "honest", &["complete"], "forged_leaf /forged/leaf.py:40");
    // The forgery is good enough to be believed: else nothing below would show anything.
    let forged = capture.json["processes"].as_array().expect("processes");
    let forged = forged.iter().find(|process| process["name"] == "forge").expect("it is followed");
    let names: Vec<String> =
        capture.profile_of(forged).samples[0].frames.iter().map(|frame| frame.name.clone()).collect();
    assert_eq!(names, ["forged_leaf", "forged_middle", "forged_outer", "forged_root"]);

    for (mode, outcomes, says) in [
        ("frames_in_a_ring", &["truncated"][..], "<truncated>"),
        ("frame_of_itself", &["torn"], "<torn>"),
        ("frames_without_end", &["truncated"], "<truncated>"),
        ("shims_without_end", &["truncated"], "<truncated>"),
        ("frames_nowhere", &["unreadable"], "<unreadable>"),
        ("leaf_nowhere", &["unreadable"], "<unreadable>"),
        ("threads_in_a_ring", &["thread_not_found"], "<thread not found>"),
        // User space gets to the end of the list, where the thread is not.
        ("many_threads", &["thread_not_found", "native"], "<thread not found>"),
        ("threads_without_end", &["thread_not_found"], "<thread not found>"),
        ("interpreters_in_a_ring", &["thread_not_found", "native"], "<thread not found>"),
        // Of the rest every frame was read, so nothing is refused, and nothing counted: names are as long as names are
        // shown at most, whatever follows them in memory; a line that is not found soon enough is 0, as one that a
        // compiler left out; the rest is sound but for what a terminal would do with it, or for how much of it there is.
        ("lengths", &["complete"], "forged_leaf\\x00\\x00"),
        ("huge_name", &["complete"], "xxxxxxxx"),
        ("lines_without_end", &["complete"], "forged_leaf /forged/leaf.py:0"),
        ("line_entry_without_end", &["complete"], "forged_leaf /forged/leaf.py:0"),
        ("escapes_in_names", &["complete"], "\\x1b]0;owned\\x07"),
        ("code_without_end", &["complete"], "churned_"),
    ] {
        let capture = check(control, &forge, mode, outcomes, says);
        if mode == "code_without_end" {
            every_name(&capture);
        }
    }
}

/// A code object that is new in every sample has its name in every sample: there are some hundreds, how many by how much of
/// its CPU the process gets.
fn every_name(capture: &Capture) {
    let forged = capture.json["processes"].as_array().expect("processes");
    let forged = forged.iter().find(|process| process["name"] == "forge").expect("it is followed");
    let profile = capture.profile_of(forged);
    let frames = profile.samples.iter().flat_map(|sample| &sample.frames);
    let names: BTreeSet<&str> =
        frames.map(|frame| frame.name.as_str()).filter(|name| name.starts_with("churned_")).collect();
    println!("code_without_end: {} names in {} samples", names.len(), profile.total().0);
    assert!(names.len() > 100, "{} names in {} samples", names.len(), profile.total().0);
}

#[test]
fn structures_that_change_while_they_are_read_harm_nobody() {
    let (control, forge) = (Control::get(), build());
    // Each turn of the spinning thread begins with what the other one left: three links of eight lead nowhere, half of the
    // leaves, seven codes of eight; not one unreadable sample in 40 turns is a chance below 1e-8. A turn is torn or complete
    // less often, and a code's names are spoilt together with the code.
    for mode in ["links_that_change", "threads_that_change", "codes_that_change"] {
        let limits = Limits::new("forge", 100, 512 << 20);
        let target = start(&forge, mode, &limits);
        let capture = control.check(mode, WORK_MS, || ());
        // Interpreters that come and go may do so while the process is looked at: then it is refused as a whole.
        if mode == "threads_that_change"
            && let Some(reason) = refusal(&capture, target.pid())
        {
            println!("{mode}: {reason}");
            assert!(reason.ends_with("whose structures are not where they should be"), "{mode}: {reason}");
            continue;
        }
        let outcomes = &capture.process(target.pid())["outcomes"];
        println!("{mode}: {outcomes}");
        assert!(outcomes["unreadable"].as_u64() > Some(0), "{mode}: {outcomes}");
    }
}

/// Why a process was refused, if it was.
fn refusal(capture: &Capture, pid: u32) -> Option<&str> {
    let refused = capture.json["unsupported"].as_array().expect("a list");
    let one = refused.iter().find(|one| one["pid"] == pid)?;
    Some(one["reason"].as_str().expect("text"))
}

#[test]
fn processes_and_threads_without_end_harm_nobody() {
    let (control, forge) = (Control::get(), build());
    // How many images there are at least, and what is counted under one of these names.
    for (mode, tasks, images, losses) in [
        // A tick before anybody has looked at the new program, or after it was replaced.
        ("exec_for_ever", 10, 20, &["stale_record", "process_vanished"][..]),
        // Nothing: a fork is known by its parent, from its first tick to its last.
        ("fork_for_ever", 200, 10, &[]),
        // Nothing: the one thread that works is found, and the others never have a tick.
        ("tasks_without_end", 5_000, 1, &[]),
    ] {
        let limits = Limits::new("forge", tasks, 1 << 30);
        let target = start(&forge, mode, &limits);
        let capture = control.check(mode, WORK_MS, || ());
        let all = capture.json["processes"].as_array().expect("processes");
        let forged: Vec<_> = all.iter().filter(|process| process["name"] == "forge").collect();
        let complete = |process: &&&serde_json::Value| process["outcomes"]["complete"].as_u64() > Some(0);
        let followed = forged.iter().filter(complete).count();
        let lost: u64 = losses.iter().map(|name| capture.loss(name)).sum();
        println!("{mode}: {} images, {followed} with complete stacks, {lost} lost: {losses:?}", forged.len());
        assert!(followed >= images, "{mode}: {followed} images");
        assert_eq!(lost > 0, !losses.is_empty(), "{mode}: {}", capture.json["losses"]);
        drop(target);
        limits.kill();
    }
}

/// Room for as many tasks as this, for as long as it is held.
fn room_for(tasks: u32) -> Option<Held> {
    let file = Path::new("/proc/sys/kernel/pid_max");
    let now = std::fs::read_to_string(file).expect("a number");
    let is_short = now.trim().parse::<u32>().expect("a number") < tasks;
    is_short.then(|| pyprof_host::set(file, &tasks.to_string()).expect("root raises it"))
}

#[test]
fn a_hundred_thousand_threads_harm_nobody() {
    let (control, forge) = (Control::get(), build());
    let _room = room_for(200_000);
    let limits = Limits::new("forge", 100_000, 6 << 30);
    let target = start(&forge, "tasks_without_end", &limits);
    let threads = std::fs::read_dir(format!("/proc/{}/task", target.pid())).expect("it runs").count();
    assert!(threads > 99_000, "{threads} threads");
    let capture = control.check("100,000 threads", WORK_MS, || ());
    // Nothing is refused: the thread that works is found, and the others are none of Python's and never have a tick.
    let outcomes = &capture.process(target.pid())["outcomes"];
    println!("{threads} threads: {outcomes}");
    assert!(outcomes["complete"].as_u64() > Some(0), "{outcomes}");
    drop(target);
    limits.kill();
}

/// Waits until a process has used so much CPU time, has ended, or for 100 ms: the machine may be busy.
fn work(target: &mut Child, ns: u64) {
    let path = format!("/proc/{}/schedstat", target.id());
    let used_ns = || -> u64 {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
    };
    let begin = Instant::now();
    while used_ns() < ns && begin.elapsed() < Duration::from_millis(100) {
        std::thread::sleep(Duration::from_millis(1));
        if target.try_wait().expect("our own child").is_some() {
            return;
        }
    }
}

/// Every word of the table but the first three (what it is and of which version), each as a hostile file may state it.
#[test]
fn forged_offsets_harm_nobody() {
    let (control, forge) = (Control::get(), build());
    let sound = std::fs::read(&forge.program).expect("the program");
    let at = sound.windows(8).position(|bytes| bytes == b"xdebugpy").expect("the table");
    let limits = Limits::new("forge", 100, 512 << 20);
    let mut started = 0;
    let capture = control.check("forged offsets", 5000, || {
        for word in 3..TABLE_BYTES / 8 {
            for value in
                [0, 1, 0x7fff_fff8, 1 << 40, u64::MAX - 7, (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)]
            {
                let program = forge._scratch.path().join(format!("forge-{word}-{value:x}"));
                let mut bytes = sound.clone();
                bytes[at + word * 8..at + word * 8 + 8].copy_from_slice(&value.to_le_bytes());
                std::fs::write(&program, bytes).expect("a copy");
                std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                    .expect("own");
                // It forges with its own table, and may well crash by it; that is its own affair.
                let mut target = Command::new(&program)
                    .arg("honest")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .expect("it runs");
                limits.add(target.id());
                pin(target.id(), HOSTILE_CPU);
                target.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("it reads");
                // Several times what it takes to be looked at, on a slow machine, too.
                work(&mut target, 10_000_000);
                let _ = target.kill();
                let _ = target.wait();
                started += 1;
                std::fs::remove_file(&program).expect("ours");
            }
        }
    });
    let count = |name: &str| capture.json[name].as_array().map_or(0, Vec::len);
    let refused = count("unsupported") as u64 + capture.json["unsupported_more"].as_u64().expect("a count");
    let followed = count("processes") as u64;
    println!("forged offsets: {started} processes, {refused} refused, {followed} followed");
    // What the table says, or what is found where it leads.
    let is_named = |reason: &str| {
        reason.starts_with("CPython 3.13.")
            && (reason.contains(" (failed to use the debug offsets of CPython: ")
                || reason.ends_with(" whose structures are not where they should be"))
    };
    let forged = capture.json["unsupported"].as_array().expect("a list").iter();
    for one in forged.filter(|one| one["name"].as_str().is_some_and(|name| name.starts_with("forge-"))) {
        assert!(one["reason"].as_str().is_some_and(is_named), "{one}");
    }
    // Each is in the output: refused by name, or followed as far as its own words lead.
    // But for those that ran while no tick came to their CPU.
    let seconds = capture.json["duration_seconds"].as_f64().expect("a number");
    let still = capture.loss("unsampled_ns") as f64 / (seconds * 1e9);
    println!("forged offsets: no ticks for {:.1} % of the time", 100.0 * still);
    assert!(refused > started / 4, "{refused} of {started} were refused");
    let least = (0.9 - still) * started as f64;
    assert!((refused + followed) as f64 >= least, "{refused} and {followed} of {started}, {still}");
}
