//! Every kind of rule, alone and together.

use std::os::unix::process::CommandExt;
use std::process::Command;

use pyprof_tests::pythons::{python, pythons};
use pyprof_tests::{Scratch, Target, capture};

use super::{Group, HZ, SPIN, counted, sampled, spinner};

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NOBODY: u32 = 65534;

#[test]
fn each_rule_selects_what_it_says_and_nothing_else_is_unwound() {
    let own = std::process::id();
    let plain = spinner("plain.py");
    let other = Target::start(&python(12), "other.py", SPIN, &[]);
    let container = spinner("boxed.py");
    let unit = spinner("unit.py");
    let scratch = Scratch::new("nobody");
    let script = scratch.path().join("theirs.py");
    std::fs::write(&script, SPIN).expect("the script");
    // Whoever it is may run Debian's.
    let debian = pythons().into_iter().find(|python| python.is_static).expect("a static CPython");
    let mut command = Command::new(debian.path);
    command.arg(&script).uid(NOBODY).gid(NOBODY);
    let mut theirs = Target::command(command);
    theirs.line();
    let parent = Group::new(&format!("pyprof-select-{own}"));
    let boxed_in = Group::new(&format!("pyprof-select-{own}/docker-{CONTAINER}.scope"));
    let unit_in = Group::new(&format!("pyprof-select-{own}/pyprof-test-{own}.service"));
    boxed_in.add(container.pid());
    unit_in.add(unit.pid());
    let ours = [
        ("plain", plain.pid()),
        ("other", other.pid()),
        ("boxed", container.pid()),
        ("unit", unit.pid()),
        ("theirs", theirs.pid()),
    ];
    let number = |pid: u32| pid.to_string();
    let (group, below) = (parent.path(), unit_in.in_hierarchy());
    let (unit_name, plain_pid, other_pid) =
        (format!("pyprof-test-{own}"), number(plain.pid()), number(other.pid()));
    let rows: &[(&[&str], &[&str])] = &[
        (&["--name", "^pla[i]n$"], &["plain"]),
        (&["--name", "^plain$", "--name", "^other$"], &["plain", "other"]),
        (&["--cgroup", &group], &["boxed", "unit"]),
        (&["--cgroup", &below], &["unit"]),
        (&["--container", &CONTAINER[..12]], &["boxed"]),
        (&["--unit", &unit_name], &["unit"]),
        (&["--uid", "nobody"], &["theirs"]),
        (&["--uid", "65534", "--python", "3.12"], &[]),
        (&["--python", "3.12", "--name", "^(plain|other)$"], &["other"]),
        (&["-p", &plain_pid, "-p", &other_pid, "--exclude-python", "3.12"], &["plain"]),
        (
            &["--name", "^(plain|other|boxed)$", "--exclude-container", "0123", "--exclude-pid", &plain_pid],
            &["other"],
        ),
        (&["--exclude-uid", "0", "--exclude-cgroup", "/nowhere"], &["theirs"]),
    ];
    for (rules, expected) in rows {
        let arguments = [&["-d", "0.7", "-F", HZ, "-v"], *rules].concat();
        let capture = capture::run(&arguments);
        assert_eq!(sampled(&capture, ours), *expected, "{rules:?}: {}", capture.stderr);
        let code = if expected.is_empty() { 6 } else { 0 };
        assert_eq!(capture.code, code, "{rules:?}: {}", capture.stderr);
        if expected.is_empty() {
            // Nothing of the five that burn all CPUs was unwound.
            for counter in ["thread_steps", "code_sent", "complete", "hint_hit"] {
                assert_eq!(counted(&capture, counter), 0, "{counter}: {}", capture.stderr);
            }
            assert!(counted(&capture, "left_out") > 0, "{}", capture.stderr);
            assert!(
                capture.stderr.contains("no Python process matches --uid 65534 --python 3.12; there are")
            );
            assert!(capture.stderr.contains("theirs (pid "), "{}", capture.stderr);
            continue;
        }
        let json = &capture.json;
        let by_number = rules.contains(&"-p");
        let left_out = json["selection"]["left_out"].as_u64().expect("a count");
        let others = if by_number { 1 } else { ours.len() - expected.len() };
        assert!(
            left_out >= others as u64 && (!by_number || left_out == 1),
            "{rules:?}: {}",
            json["selection"]
        );
        // Each tick in exactly one place, those on who was left out included.
        let ticks = |name: &str| json["ticks"][name].as_u64().expect("a count");
        let lost = capture.loss("not_chained") + capture.loss("no_scratch");
        assert_eq!(ticks("delivered"), ticks("idle") + ticks("other") + ticks("on_python") + lost);
        let left_out_ticks = json["selection"]["left_out_ticks"].as_u64().expect("a count");
        assert_eq!(left_out_ticks, counted(&capture, "left_out"));
        assert!(left_out_ticks > 0 && left_out_ticks <= ticks("other"), "{rules:?}: {}", json["selection"]);
        assert_eq!(json["losses"]["sample_unaccounted"], 0);
    }
}
