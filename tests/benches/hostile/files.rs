//! Files that are mapped as code and are no sound ELF files: cut short, far too long, spoilt, or rewritten while they are
//! read. They are made from a real libpython, so that they are read as far as anything is wrong with them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyprof_tests::limits::Limits;
use pyprof_tests::pythons::python;
use pyprof_tests::{Scratch, Target};

use crate::beside::{Control, HOSTILE_CPU};
use crate::opened::Opened;

const WORK_MS: u32 = 1500;
const SOURCE: &str = include_str!("../../targets/map_files.py");

/// The library of a shared build.
fn library(minor: u8) -> PathBuf {
    let python = python(minor);
    let prefix = python.path.parent().and_then(Path::parent).expect("PREFIX/bin");
    prefix.join(format!("lib/libpython3.{minor}.so.1.0"))
}

/// A copy for the row to spoil; none has the name of another, and no cache knows it.
fn copy(scratch: &Scratch, number: usize) -> PathBuf {
    let directory = scratch.path().join(number.to_string());
    fs::create_dir(&directory).expect("a directory");
    let path = directory.join("libpython3.11.so.1.0");
    fs::copy(library(11), &path).expect("a copy");
    path
}

/// Knuth's MMIX generator: the same in every run.
fn noise(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 16
}

fn truncated(scratch: &Scratch) -> Vec<PathBuf> {
    let lengths = [1, 63, 64, 120, 4096, 65_536, 1 << 20, 3 << 20];
    let cut = |(number, length): (usize, &u64)| {
        let path = copy(scratch, number);
        File::options().write(true).open(&path).and_then(|file| file.set_len(*length)).expect("ours");
        path
    };
    lengths.iter().enumerate().map(cut).collect()
}

/// 10 GB without content, whose tables begin far inside: `e_phoff` and `e_shoff` (`include/uapi/linux/elf.h`).
fn sparse(scratch: &Scratch) -> Vec<PathBuf> {
    let fields: [&[(u64, u64)]; 3] = [&[], &[(40, 9 << 30)], &[(32, 9 << 30), (40, 9 << 30)]];
    let make = |(number, fields): (usize, &&[(u64, u64)])| {
        let path = copy(scratch, number);
        let file = File::options().write(true).open(&path).expect("ours");
        file.set_len(10 << 30).expect("a sparse file");
        for (offset, value) in *fields {
            file.write_all_at(&value.to_le_bytes(), *offset).expect("ours");
        }
        path
    };
    fields.iter().enumerate().map(make).collect()
}

/// Bytes changed in the headers, in the dynamic tables behind them, and in the section table at the end.
fn spoilt(scratch: &Scratch) -> Vec<PathBuf> {
    let mut state = 0x5eed;
    let mut spoil = |number: usize| {
        let path = copy(scratch, number);
        let file = File::options().write(true).open(&path).expect("ours");
        let bytes = file.metadata().expect("ours").len();
        for _ in 0..1 + noise(&mut state) % 8 {
            let at = match noise(&mut state) % 4 {
                0 => 16 + noise(&mut state) % 48,
                1 => 64 + noise(&mut state) % 1024,
                2 => noise(&mut state) % 65_536,
                _ => bytes - 1 - noise(&mut state) % 4096,
            };
            let value = [0, 0x7f, 0x80, 0xff][(noise(&mut state) % 4) as usize];
            file.write_all_at(&[value; 8][..1 + (noise(&mut state) % 8) as usize], at).expect("ours");
        }
        path
    };
    (0..60).map(&mut spoil).collect()
}

fn check(control: Control, row: &str, change: bool, make: fn(&Scratch) -> Vec<PathBuf>) {
    let scratch = Scratch::new("files");
    let script = scratch.path().join("map_files.py");
    fs::write(&script, SOURCE).expect("the script");
    let paths = make(&scratch);
    let limits = Limits::new("files", 50, 1 << 30);
    let mut command = Command::new(&python(12).path);
    command.arg(&script).arg(if change { "change" } else { "keep" }).args(&paths);
    limits.enter(&mut command);
    let mut target = Target::command(command);
    target.pin(HOSTILE_CPU);
    let mapped: usize = target.line().parse().expect("a number");
    assert!(mapped > 0, "{row}: nothing of {} was mapped", paths.len());
    let opened = Opened::watch(&paths);
    let capture = control.check(row, WORK_MS, || ());
    let opened = opened.end();
    // What cannot be mapped, since it is shorter than a page, is nobody's program.
    assert_eq!(opened.len(), mapped, "{row}: the profiler has not looked at all: {opened:?}");
    let all = capture.json["processes"].as_array().expect("processes").iter();
    let all = all.filter(|process| process["name"] == "map_files");
    let complete: u64 = all.filter_map(|process| process["outcomes"]["complete"].as_u64()).sum();
    println!("{row}: {mapped} mapped, {complete} complete stacks, {:?}", capture.json["unsupported"]);
    // Files that hold nothing, or a Python that does not run, are no reason to refuse who maps them: no row has a name for
    // them, and the Python that does run in the process, and in its forks, is followed.
    assert!(complete > 0, "{row}: {}", capture.json["processes"]);
    let refused = capture.json["unsupported"].as_array().expect("a list").iter();
    let refused: Vec<_> = refused.filter(|one| one["name"] == "map_files").collect();
    assert!(refused.is_empty(), "{row}: {refused:?}");
    drop(target);
    limits.kill();
}

#[test]
fn files_that_are_no_sound_programs_harm_nobody() {
    let control = Control::get();
    check(control, "truncated", false, truncated);
    check(control, "sparse", false, sparse);
    check(control, "spoilt", false, spoilt);
    check(control, "rewritten while it is read", true, |scratch| vec![copy(scratch, 0)]);
}
