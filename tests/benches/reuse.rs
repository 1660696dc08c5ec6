//! A pid that is used again within one capture: two processes, two files, never one.
//!
//! The next pid to be given is what `/proc/sys/kernel/ns_last_pid` says, plus one, if it is free. Others fork as well and may
//! take it; then it is tried again.

use std::process::Command;
use std::time::{Duration, Instant};

use pyprof_tests::pythons::python;
use pyprof_tests::{Python, Scratch, Target, capture};

const HZ: &str = "999";
const BURN: &str = include_str!("../targets/burn.py");

/// Works under a function of its own when it is told to. `fork` has a child do it, which is given a pid by the same means.
const SOURCE: &str = "
exec('''def %s(ms):
    return burn(ms)
''' % sys.argv[1])

def again(pid):
    for _ in range(2000):
        with open('/proc/sys/kernel/ns_last_pid', 'w') as last:
            last.write(str(pid - 1))
        child = os.fork()
        if child == 0:
            if os.getpid() == pid:
                say(sys.argv[1], globals()[sys.argv[1]](300))
            os._exit(0)
        os.waitpid(child, 0)
        if child == pid:
            return
        time.sleep(0.002)
    raise SystemExit('the pid was not given again')

say('ready', 0)
line = sys.stdin.readline().split()
if line[0] == 'fork':
    again(int(line[1]))
else:
    say(sys.argv[1], globals()[sys.argv[1]](300))
";

struct Script {
    _scratch: Scratch,
    path: String,
}

fn script(name: &str) -> Script {
    let scratch = Scratch::new("reuse");
    let path = scratch.path().join(name);
    std::fs::write(&path, format!("{BURN}\n{SOURCE}")).expect("the script");
    let path = path.to_str().expect("a plain path").to_owned();
    Script { _scratch: scratch, path }
}

fn start(python: &Python, script: &Script, function: &str) -> Target {
    let mut command = Command::new(&python.path);
    command.args([&script.path, function]);
    Target::command(command)
}

/// A process with this pid.
fn start_as(pid: u32, python: &Python, script: &Script, function: &str) -> Target {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("root sets it");
        let target = start(python, script, function);
        if target.pid() == pid {
            return target;
        }
        drop(target);
        assert!(Instant::now() < deadline, "pid {pid} was not given again");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn work(mut target: Target) -> u64 {
    target.line();
    target.tell("go");
    let said = target.wait();
    said.split_whitespace().last().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
}

#[test]
fn a_pid_that_is_used_again_is_another_file() {
    let (old, new) = (python(8), python(13));
    let (same, other) = (script("same.py"), script("other.py"));
    // (the second script, how it gets its pid, the name of its file; whether the first ran before the capture)
    let rows = [
        ("another program", &other, false, "other", false),
        ("the same program", &same, false, "same", false),
        ("after one that ran before", &same, false, "same", true),
        ("a fork", &same, true, "same", false),
        ("a fork, after one that ran before", &same, true, "same", true),
    ];
    for (row, second, forks, name, early) in rows {
        // Nothing of the second process may depend on when the first was forgotten: 100 ms after its exit.
        for pause_ms in [0, 200] {
            let before = early.then(|| start(&old, &same, "first_work"));
            let forker = forks.then(|| start(&new, second, "second_work"));
            let recording = capture::start(&["-F", HZ, "--max-cpu", "400"]);
            let first = before.unwrap_or_else(|| start(&old, &same, "first_work"));
            let pid = first.pid();
            let first_ns = work(first);
            std::thread::sleep(Duration::from_millis(pause_ms));
            let second_ns = match forker {
                Some(mut forker) => {
                    forker.line();
                    forker.tell(&format!("fork {pid}"));
                    let said = forker.wait();
                    said.split_whitespace().last().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
                }
                None => work(start_as(pid, &new, second, "second_work")),
            };
            let capture = recording.stop();
            assert_eq!(capture.code, 0, "{row}: {}", capture.stderr);
            // Ticks are even: of 300 ms half is far from what chance, or a host that stands still for 50 ms, can take.
            let images = capture.processes(pid);
            assert_eq!(images.len(), 2, "{row}: {images:?}");
            let expected = [
                (format!("same-{pid}.pb.gz"), &old, "first_work", "second_work", first_ns),
                (format!("{name}-{pid}.2.pb.gz"), &new, "second_work", "first_work", second_ns),
            ];
            for (image, (file, python, own, foreign, ns)) in images.iter().zip(expected) {
                assert_eq!(image["file"], file, "{row}");
                assert_eq!(image["python_version"], python.version, "{row}: {image}");
                let profile = capture.profile_of(image);
                let (seen_ns, foreign_ns) = (profile.cumulative(own).1, profile.cumulative(foreign).1);
                println!("{row}, {pause_ms} ms: {file}: {seen_ns} of {ns} ns");
                assert_eq!(foreign_ns, 0, "{row}: {file} has samples of another process");
                assert!(seen_ns * 2 >= ns && seen_ns <= ns * 3 / 2, "{row}: {file}: {seen_ns} of {ns} ns");
            }
            let start = |image: &serde_json::Value| image["start"].as_str().expect("a time").to_owned();
            assert!(start(images[0]) < start(images[1]), "{row}: {images:?}");
        }
    }
}
