//! Files that are damaged or lie: named with what is wrong, at no cost, and the others are reported.

use super::made::{self, Message, field, gzip};
use super::{Bench, Ran};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use pyprof_tests::limits::Limits;

const NOT_READ: i32 = 9;

fn sound() -> Message {
    made::like_ddtrace()
}

/// A message that is sound but for what comes behind it.
fn with(field: u64, message: Message) -> Vec<u8> {
    sound().message(field, message).0
}

fn rows() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = sound().0;
    let cut = whole[..whole.len() / 2].to_vec();
    let zipped = gzip(&whole);
    let mut flipped = zipped.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let location = |id| made::new().number(1, id);
    let values = |sample: Message| [1, 1, 1, 1].iter().fold(sample, |sample, value| sample.number(2, *value));
    vec![
        ("empty", vec![], "it is empty"),
        ("text", b"hello, this is no profile\n".to_vec(), "no pprof file"),
        ("json", b"{\"traceEvents\": []}".to_vec(), "JSON"),
        ("page", gzip(b"<!doctype html><html></html>"), "HTML"),
        ("zstd", b"\x28\xb5\x2f\xfd\x00\x00".to_vec(), "unpack it first"),
        ("go-text", b"heap profile: 1: 2 [3: 4] @ heap/1\n".to_vec(), "go tool pprof -proto converts it"),
        ("cut", cut, "no field of a message at byte"),
        ("cut-gz", zipped[..zipped.len() - 20].to_vec(), "damaged or cut"),
        ("flipped", flipped, "damaged or cut"),
        (
            "no-location",
            with(field::SAMPLE, values(made::new().number(1, 12345))),
            "there is no location 12345",
        ),
        ("few-values", with(field::SAMPLE, made::new().number(1, 9).number(2, 1)), "1 values for 4 types"),
        ("twice", with(field::LOCATION, location(9)), "there are two of location 9"),
        ("id-0", with(field::LOCATION, location(0)), "a location has the id 0"),
        (
            "no-function",
            [with(field::LOCATION, location(77).message(4, made::new().number(1, 99))), {
                let sample = values(made::new().number(1, 77));
                made::new().message(field::SAMPLE, sample).0
            }]
            .concat(),
            "there is no function 99",
        ),
        (
            "no-string",
            with(field::SAMPLE_TYPE, made::new().number(1, 1 << 40).number(2, 1)),
            "there is no string",
        ),
        ("no-type", made::new().bytes(field::STRING, b"").0, "no sample type"),
        ("kind", made::new().number(field::SAMPLE, 3).0, "field 2 is of another kind"),
        ("bomb", gzip(&vec![0u8; 400 << 20]), "unpacks to more than 256 MB"),
        ("deep", deep(), "frames"),
        ("wide", wide(), "it has more than"),
        ("greedy", greedy(), "bytes in profiles"),
    ]
}

/// One location of very many lines that every sample names very often: few bytes, years of work.
fn deep() -> Vec<u8> {
    let lines =
        (0..10_000).fold(made::new().number(1, 1000), |at, _| at.message(4, made::new().number(1, 41)));
    let ids = [0xe8, 0x07].repeat(6);
    let sample =
        [1, 1, 1, 1].iter().fold(made::new().bytes(1, &ids), |sample, value| sample.number(2, *value));
    let all = sound().message(field::LOCATION, lines);
    gzip(&(0..50_000).fold(all, |all, _| all.message(field::SAMPLE, sample.clone())).0)
}

/// Two thousand processes, each with three hundred names of four kilobytes, of which the file has one copy.
fn greedy() -> Vec<u8> {
    const NAMES: i64 = 300;
    let first = made::strings() as i64;
    let mut all = sound();
    for number in 0..NAMES {
        let (id, name) = (10_000 + number, format!("{number:04000}"));
        all = all
            .bytes(field::STRING, name.as_bytes())
            .message(field::FUNCTION, made::new().number(1, id).number(2, first + number))
            .message(field::LOCATION, made::new().number(1, id).message(4, made::new().number(1, id)));
    }
    all = all.bytes(field::STRING, b"pid");
    for pid in 1..=2000 {
        let sample = (0..NAMES).fold(made::new(), |sample, number| sample.number(1, 10_000 + number));
        let sample = [1, 1, 1, 1].iter().fold(sample, |sample, value| sample.number(2, *value));
        let label = made::new().number(1, first + NAMES).number(3, pid);
        all = all.message(field::SAMPLE, sample.message(3, label));
    }
    gzip(&all.0)
}

/// Three million empty strings.
fn wide() -> Vec<u8> {
    gzip(&[sound().0, [0x32, 0x00].repeat(3_000_000)].concat())
}

#[test]
fn what_is_wrong_with_a_file_is_said_and_others_are_reported() {
    let bench = Bench::new("broken");
    bench.write("sound.pprof", &sound().0);
    let limits = Limits::new("report", 50, 1 << 30);
    for (name, bytes, expected) in rows() {
        bench.write(name, &bytes);
        let mut command = bench.command();
        limits.enter(command.args(["sound.pprof", name]));
        let began = Instant::now();
        let output = command.output().expect("the binary runs");
        let took = began.elapsed();
        let stderr = String::from_utf8(output.stderr).expect("text");
        let stdout = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(NOT_READ), "{name}: {:?} {stderr}", output.status.signal());
        let line = stderr.lines().find(|line| line.contains(&format!("failed to read {name}: ")));
        assert!(line.is_some_and(|line| line.contains(expected)), "{name}: {stderr}");
        assert!(stderr.ends_with("pyprof-bpf: failed to read 1 of 2 files\n"), "{name}: {stderr}");
        assert!(stdout.contains("/srv/app.py"), "{name}: {stdout}");
        assert!(took < Duration::from_secs(20), "{name}: {took:?}");
    }
}

#[test]
fn what_is_said_beside_the_report_is_as_much_as_was_asked_for() {
    let bench = Bench::new("talk");
    bench.write("sound.pprof", &sound().0);
    let report = |option: &str| bench.report([option, "sound.pprof", "missing.pprof"]);
    let (quiet, verbose) = (report("-q"), report("-v"));
    let failed = "pyprof-bpf: failed to read missing.pprof: ";
    assert!(quiet.stderr.starts_with(failed) && quiet.stderr.lines().count() == 2, "{}", quiet.stderr);
    let told = verbose.stderr.lines().find(|line| line.starts_with("read sound.pprof: ")).expect("a line");
    assert!(told.contains(" samples of ") && told.ends_with("written by another tool"), "{told}");
    assert_eq!(quiet.stdout, verbose.stdout);
    assert_eq!(bench.report(["-q", "-v", "sound.pprof"]).code, Some(2));

    // Colours add nothing but colours.
    let painted = bench.report(["--color", "always", "sound.pprof"]).stdout;
    assert!(painted.contains("\x1b[1m") && !quiet.stdout.contains('\x1b'), "{painted}");
    assert_eq!(painted.replace("\x1b[1m", "").replace("\x1b[33m", "").replace("\x1b[0m", ""), quiet.stdout);
}

#[test]
fn names_in_files_are_not_obeyed_by_a_terminal_and_sources_are_files() {
    let bench = Bench::new("names");
    // A function with colours in its name, whose file is a device.
    let mut nasty = sound().0;
    for (from, to) in [("/srv/app.py", "/dev/zero\x1b["), ("inlined", "\x1b[31mR\x07")] {
        let at = nasty.windows(from.len()).position(|part| part == from.as_bytes()).expect("the string");
        let to: Vec<u8> = to.bytes().chain(std::iter::repeat(b'x')).take(from.len()).collect();
        nasty[at..at + from.len()].copy_from_slice(&to);
    }
    bench.write("nasty.pprof", &nasty);
    let views: [&[&str]; 7] = [
        &[],
        &["--lines"],
        &["--by", "file"],
        &["--by", "thread"],
        &["--callers", "."],
        &["--source", "."],
        &["--json"],
    ];
    for view in views {
        let ran = bench.report(view.iter().copied().chain(["nasty.pprof"]));
        assert_eq!(ran.code, Some(0), "{view:?}: {}", ran.stderr);
        let text = ran.stdout + &ran.stderr;
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{view:?}: {text:?}");
    }
    let device = made::like_ddtrace().0;
    let at = device.windows(11).position(|part| part == b"/srv/app.py").expect("the string");
    let device = [&device[..at], b"/dev/zero\0\0", &device[at + 11..]].concat();
    bench.write("device.pprof", &device);
    let ran = bench.report(["--source", "main", "device.pprof"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("no source"), "{}", ran.stdout);
}

#[test]
fn what_cannot_be_done_is_said_with_its_exit_code() {
    let bench = Bench::new("said");
    bench.write("sound.pprof", &sound().0);
    bench.open_directory("nothing");
    let rows: &[(&[&str], i32, &str)] = &[
        (&[], 2, "required"),
        (&["sound.pprof", "--by", "colour"], 2, "possible values"),
        (&["sound.pprof", "--focus", "("], 2, "--focus"),
        (&["sound.pprof", "--limit", "0"], 2, "--limit"),
        (&["sound.pprof", "--diff"], 2, "two files"),
        (&["sound.pprof", "--absolute"], 2, "--diff"),
        (&["sound.pprof", "-o", "out.svg"], 2, ".html"),
        (&["sound.pprof", "-o", "nothing"], 2, "one file"),
        (&["sound.pprof", "-o", "x.html", "--lines"], 2, "cannot be used with"),
        (&["sound.pprof", "--sample-type", "colour"], NOT_READ, "there are cpu-time, wall-time"),
        (&["absent.pb.gz"], NOT_READ, "there is no such file"),
        (&["nothing"], NOT_READ, "there is no profile in it"),
        (&["sound.pprof", "--callers", "nowhere"], 1, "no function matches nowhere"),
        (&["sound.pprof", "--source", "nowhere"], 1, "no function matches nowhere"),
        (&["sound.pprof", "-o", "x.html"], 1, "failed to write x.html"),
        (&["sound.pprof", "-o", "absent/x.html"], 1, "failed to open directory absent"),
        (&["sound.pprof", "-f", "pprof", "--focus", "nowhere"], 6, "no sample is selected"),
        (&["sound.pprof", "--focus", "nowhere"], 0, ""),
    ];
    for (args, code, expected) in rows {
        let Ran { code: got, stdout, stderr } = bench.report(*args);
        assert_eq!(got, Some(*code), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
        assert!(*code == 0 || stdout.is_empty(), "{args:?}: {stdout}");
    }
    // A reader that has seen enough is no failure.
    let mut command = bench.command();
    let mut child = command.arg("sound.pprof").stdout(Stdio::piped()).spawn().expect("the binary runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("our own").code(), Some(0));
}
