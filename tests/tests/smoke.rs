//! The main job in its smallest form, on every interpreter: one process, one profile, the functions that ran.

use std::time::Duration;

use pyprof_tests::{Target, capture, pythons};

const SOURCE: &str = r#"
def leaf(n):
    s = 0
    for i in range(n):
        s += i * i
    return s

def caller():
    while True:
        leaf(50)

print("ready", flush=True)
caller()
"#;

#[test]
fn every_interpreter_is_found_and_unwound() {
    for python in pythons() {
        let target = Target::start(&python, "smoke.py", SOURCE, &[]);
        let pid = target.pid();
        let recording = capture::start(&["-F", "499", "-p", &pid.to_string()]);
        target.wait_for_cpu(Duration::from_secs(1));
        let capture = recording.stop();
        assert_eq!(capture.code, 0, "{python}: {}", capture.stderr);
        let process = capture.process(pid);
        assert_eq!(process["python_version"], python.version, "{python}");
        assert_eq!(process["name"], "smoke", "{python}");
        let profile = capture.profile(pid).without_collector();
        let stacks = profile.stacks();
        let expected = stacks.get("<module>;caller;leaf").copied().unwrap_or(0)
            + stacks.get("<module>;caller").copied().unwrap_or(0);
        let (all, _) = profile.total();
        assert!(all > 200 && expected * 1000 >= all * 995, "{python}: {expected} of {all}: {stacks:?}");
    }
}
