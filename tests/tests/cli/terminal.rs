//! What reaches a terminal: text only, and nothing that a target chose to be obeyed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pyprof_tests::{Scratch, Target};
use serde_json::Value;

use super::{SPIN, any_python, fits, list, pyprof, run, spinner};

/// A pair of terminal ends: ours, and the one a program sees.
fn terminal() -> (File, File) {
    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: valid pointers; no name and no settings are asked for.
    let status =
        unsafe { libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null(), &size) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: two fresh descriptors that nobody else owns.
    unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) }
}

/// All that was written to the terminal until its last writer went.
fn read_all(mut ours: File) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    // EIO says that nobody holds the other end any more.
    while let Ok(count @ 1..) = ours.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

/// Text whose only control is that of the live line and the newline.
fn assert_harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: binary output: {error}"));
    let plain = text.replace("\r\u{1b}[2K", "").replace("\r\n", "\n");
    for (index, c) in plain.char_indices() {
        let dangerous = c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
        assert!(!dangerous, "{what}: {c:?} in {:?}", &plain[index.saturating_sub(40)..]);
    }
}

const EVIL: &str = "e\u{1b}[31m\nvil\u{202e}\u{9b}2J\u{7}";

/// An interpreter, a script, a function, a file and a thread whose names are what a terminal would obey.
fn evil_target(scratch: &Scratch) -> Target {
    let python = any_python();
    let binary = scratch.path().join(format!("{EVIL}bin"));
    fs::copy(fs::canonicalize(&python.path).expect("it is there"), &binary).expect("a copy");
    fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).expect("our own file");
    let script = scratch.path().join(format!("{EVIL}.py"));
    let source = format!(
        r#"
import ctypes, threading, types
EVIL = {EVIL:?}
def spin():
    while True:
        for _ in range(2000): pass
code = spin.__code__.replace(co_name=EVIL, co_qualname=EVIL, co_filename=EVIL)
ctypes.CDLL(None).prctl(15, EVIL.encode()[:15], 0, 0, 0)
print("ready", flush=True)
types.FunctionType(code, globals())()
"#,
    )
    .replace("\\u{1b}", "\\x1b")
    .replace("\\u{202e}", "\\u202e")
    .replace("\\u{9b}", "\\x9b")
    .replace("\\u{7}", "\\x07");
    fs::write(&script, source).expect("the script");
    let mut command = Command::new(&binary);
    command.arg(&script).env("PYTHONHOME", "/usr");
    let mut target = Target::command(command);
    target.line();
    target
}

#[test]
fn nothing_of_a_target_is_obeyed() {
    let scratch = Scratch::new("evil");
    let target = evil_target(&scratch);
    // One that is refused by name, and a script whose name is evil while its interpreter's is not.
    let sleep = scratch.path().join(format!("{EVIL}sleep"));
    fs::copy("/bin/sleep", &sleep).expect("a copy");
    let mut sleeper = Command::new(&sleep).arg("60").stdout(Stdio::null()).spawn().expect("it runs");
    let named = Target::start(&any_python(), &format!("{EVIL}-script.py"), super::SPIN, &[]);

    let pids = [target.pid(), named.pid()].map(|pid| pid.to_string());
    let directory = Scratch::new("terminal");
    let (ours, theirs) = terminal();
    let mut command = pyprof(&directory);
    command.args([
        "-d",
        "2.5",
        "-F",
        "499",
        "-v",
        "--max-cpu",
        "400",
        "-o",
        "out",
        "-p",
        &pids[0],
        "-p",
        &pids[1],
    ]);
    let handle = || Stdio::from(theirs.try_clone().expect("a descriptor"));
    let mut child =
        command.stdin(handle()).stdout(handle()).stderr(handle()).spawn().expect("pyprof-bpf runs");
    drop((command, theirs));
    let said = read_all(ours);
    assert_eq!(child.wait().expect("our own child").code(), Some(0), "{}", String::from_utf8_lossy(&said));
    let text = String::from_utf8_lossy(&said);
    let head = text.split("\u{1b}[1m").map(str::trim_start).any(|bold| bold.starts_with("PID  NAME"));
    assert!(head, "no bold head: {text}");
    // Ours; what the target has in its names is red.
    let unpainted = text.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
    assert_harmless("a capture", unpainted.as_bytes());
    assert!(text.contains("e\\x1b[31m\\x0avil\\u{202e}\\u{9b}2J\\x07"), "{text}");
    assert!(text.contains("\r\u{1b}[2K00:00:0"), "no live line: {text}");

    let out = directory.path().join("out");
    for name in list(&out) {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        assert!(plain && !name.starts_with(['.', '-']), "{name:?}");
    }
    let json = fs::read(out.join("capture.json")).expect("it is there");
    let parsed: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(parsed["processes"].as_array().map(Vec::len), Some(2));
    assert_harmless("capture.json", &json);
    assert!(parsed["processes"].to_string().contains('\u{202e}'), "{parsed}");
    let dumped = pyprof(&directory).args(["dump", "--json", "-p", &pids[0]]).output().expect("it runs");
    assert_harmless("dump --json", &dumped.stdout);
    let parsed: Value = serde_json::from_slice(&dumped.stdout).expect("JSON");
    assert_eq!(parsed["processes"][0]["threads"][0]["stacks"][0]["frames"][0]["function"], EVIL, "{parsed}");

    let refused = run(pyprof(&directory).args(["-d", "1", "-p", &sleeper.id().to_string()]));
    assert_eq!(refused.code, Some(5), "{}", refused.stderr);
    assert_harmless("a refusal", refused.stderr.as_bytes());
    sleeper.kill().and_then(|()| sleeper.wait()).expect("our own child");
}

/// No text, and a way out of the directory in which a file would be called so.
const OUTSIDE: &[u8] = b"\xff/../x";

/// By the name of the program, of its script or of both: what each process calls itself.
#[test]
fn names_that_are_no_text_lead_nowhere() {
    let scratch = Scratch::new("outside");
    let python = any_python();
    let (odd, there) = (OsStr::from_bytes(OUTSIDE), scratch.path().join(OsStr::from_bytes(b"\xff")));
    let binary = scratch.path().join(OsStr::from_bytes(b"\xff..\xfe"));
    fs::copy(fs::canonicalize(&python.path).expect("it is there"), &binary).expect("a copy");
    fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).expect("our own file");
    // The kernel takes any bytes for a thread's name.
    let source =
        format!("import ctypes\nassert ctypes.CDLL(None).prctl(15, b'\\xff/../x', 0, 0, 0) == 0\n{SPIN}");
    fs::create_dir(&there).expect("a directory");
    let odd_script = scratch.path().join(OsStr::from_bytes(b"\xff..\xfe.py"));
    for script in [&scratch.path().join("x"), &odd_script] {
        fs::write(script, &source).expect("the script");
    }
    // (what is there to be called by, the program, the name it gets, its arguments)
    let (plain, binary) = (python.path.as_os_str(), binary.as_os_str());
    let rows: [(&str, &OsStr, &OsStr, Vec<&OsStr>); 4] = [
        ("a path to its script", plain, plain, vec![odd]),
        ("a script", plain, plain, vec![odd_script.as_os_str()]),
        ("a name of the program", plain, odd, vec![odd]),
        ("the program", binary, odd, vec!["-c".as_ref(), source.as_ref()]),
    ];
    let start = |(_, program, name, arguments): &(&str, &OsStr, &OsStr, Vec<&OsStr>)| {
        let mut command = Command::new(program);
        command.arg0(name).args(arguments).env("PYTHONHOME", "/usr").current_dir(scratch.path());
        let mut target = Target::command(command);
        target.line();
        target
    };
    let targets: Vec<Target> = rows.iter().map(start).collect();
    for target in &targets {
        let name = fs::read(format!("/proc/{}/comm", target.pid())).expect("it lives");
        assert_eq!(name.strip_suffix(b"\n"), Some(OUTSIDE));
    }

    let directory = Scratch::new("names");
    let mut command = pyprof(&directory);
    command.args(["-d", "1", "-F", "499", "-v", "--max-cpu", "400", "-o", "out"]);
    for target in &targets {
        command.args(["-p", &target.pid().to_string()]);
    }
    let ran = run(&mut command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_harmless("a capture", ran.stderr.as_bytes());
    // Nothing beside it, nothing below it, nothing but what is named.
    assert_eq!(list(directory.path()), ["out"]);
    let out = directory.path().join("out");
    let json = fs::read(out.join("capture.json")).expect("it is there");
    assert_harmless("capture.json", &json);
    let parsed: Value = serde_json::from_slice(&json).expect("JSON");
    let processes = parsed["processes"].as_array().expect("processes");
    let mut files = vec!["capture.json".to_owned()];
    for ((row, ..), target) in rows.iter().zip(&targets) {
        let process = processes.iter().find(|one| one["pid"] == target.pid());
        let process = process.unwrap_or_else(|| panic!("{row}: {parsed}"));
        let file = process["file"].as_str().unwrap_or_else(|| panic!("{row}: {process}"));
        println!("{row}: {} in {file}", process["name"]);
        let is_plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        assert!(is_plain && !file.starts_with(['.', '-']), "{row}: {file:?}");
        let profile = pyprof_tests::Profile::read(&out.join(file));
        assert!(profile.cumulative("spin").0 > 0, "{row}: {file}");
        files.push(file.to_owned());
    }
    files.sort();
    assert_eq!(list(&out), files);
}

#[test]
fn a_live_line_is_for_terminals_only() {
    let target = spinner("spin.py");
    let directory = Scratch::new("pipe");
    let ran = run(pyprof(&directory).args(["-d", "2.2", "-o", "out", "-p", &target.pid().to_string()]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains(['\r', '\u{1b}']), "{:?}", ran.stderr);
    assert!(!ran.stderr.lines().any(|line| fits("00:00:#*", line)), "{}", ran.stderr);
}

#[test]
fn binary_output_never_goes_to_a_terminal() {
    let (ours, theirs) = terminal();
    let name = fs::read_link(format!("/proc/self/fd/{}", theirs.as_raw_fd())).expect("its name");
    for output in [name, PathBuf::from("-"), PathBuf::from("/dev/stdout")] {
        let directory = Scratch::new("binary");
        let mut command = pyprof(&directory);
        command.args(["-d", "1", "-o"]).arg(&output);
        let handle = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        let status =
            command.stdin(handle()).stdout(handle()).stderr(handle()).status().expect("pyprof-bpf runs");
        assert_eq!(status.code(), Some(2), "{}", output.display());
    }
    drop(theirs);
    let said = read_all(ours);
    assert_harmless("a refusal", &said);
    let text = String::from_utf8_lossy(&said);
    assert_eq!(text.matches("never").count(), 3, "{text}");
}

#[test]
fn text_formats_may_go_to_a_terminal_and_bring_nothing_to_be_obeyed() {
    let scratch = Scratch::new("evil");
    let target = evil_target(&scratch);
    let pid = target.pid().to_string();
    for format in ["collapsed", "flamegraph", "speedscope", "firefox"] {
        let directory = Scratch::new("text");
        let (ours, theirs) = terminal();
        let mut command = pyprof(&directory);
        command.args(["-q", "-d", "0.4", "-f", format, "-o", "-", "-p", &pid]);
        let handle = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        let mut child =
            command.stdin(handle()).stdout(handle()).stderr(handle()).spawn().expect("pyprof-bpf runs");
        drop((command, theirs));
        let said = read_all(ours);
        assert_eq!(
            child.wait().expect("our own child").code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&said)
        );
        assert_harmless(format, &said);
        assert!(String::from_utf8_lossy(&said).contains("x1b[31m"), "{format} has no such name");
    }
}
