//! The main job in its smallest form, on every interpreter: one process, one profile, the functions that ran.

use std::time::Duration;

use pyprof_tests::pythons::{python, two_at_a_time};
use pyprof_tests::{Target, bpf, capture};

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
    two_at_a_time(|python| {
        let target = Target::start(python, "smoke.py", SOURCE, &[]);
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
    });
}

/// Before 6.0 the kernel's compiler for arm64 refuses tail calls out of programs that have functions, as a message or `memset`
/// brings them; here it would not be noticed.
#[test]
fn the_program_that_calls_the_next_one_is_one_function() {
    let target = Target::start(&python(12), "smoke.py", SOURCE, &[]);
    let recording = capture::start(&["-p", &target.pid().to_string()]);
    let functions = bpf::functions_of(recording.pid());
    // A capture without a sample has another exit code.
    target.wait_for_cpu(Duration::from_millis(500));
    assert_eq!(recording.stop().code, 0);
    assert_eq!(functions.get("pyprof_tick"), Some(&1), "{functions:?}");
    assert!(functions.get("pyprof_sample").is_some_and(|count| *count > 1), "{functions:?}");
}
