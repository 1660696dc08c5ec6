//! A process that becomes another one keeps its pid, and has a second file under its second name.

use pyprof_tests::{Python, Target, pythons};

use super::{BURN, Image, Said, check, python_command, run, script};

/// The interpreter that another one execs into.
fn next(python: &Python) -> Python {
    let all = pythons();
    let at = all.iter().position(|one| one == python).expect("one of them");
    all[(at + 1) % all.len()].clone()
}

const EXEC: &str = "
def execute():
    os.execv(sys.argv[1], [sys.argv[1], sys.argv[2]])

def from_thread():
    import threading
    threading.Thread(target=execute).start()
    while True:
        time.sleep(10)

";

/// The first image, started before the capture or during it, execs into another version.
fn check_exec(scenario: &str, early: bool, call: &str) {
    let begin = if early { "go()\n" } else { "say('before', 0)\n" };
    let first = format!("{EXEC}{begin}say('first', burn(1000))\nsay('until', now())\n{call}()\n");
    let (_first, first_path) = script("first.py", &first);
    let (_second, second_path) = script("second.py", "say('second', burn(1000))\nsay('end', now())\n");
    let arguments = |python: &Python| {
        let path = next(python).path.to_str().expect("a plain path").to_owned();
        [path, second_path.clone()]
    };
    check(
        scenario,
        |python| {
            early.then(|| {
                let [path, second] = arguments(python);
                let source = format!("{BURN}\n{first}");
                Target::start(python, "first.py", &source, &[&path, &second])
            })
        },
        |python, target| {
            let said = match target {
                Some(mut target) => {
                    target.tell("go");
                    Said::of(&target.wait())
                }
                None => {
                    let mut command = python_command(python, &first_path);
                    command.args(arguments(python));
                    run(command, None).1
                }
            };
            assert_eq!(said.pid("first"), said.pid("second"), "exec keeps the pid");
            let before_ns = said.ns("until") - said.ns("before");
            let after_ns = said.ns("end") - said.ns("until");
            vec![
                Image { cpu_ns: Some(before_ns), ..said.image("first", "first", python) },
                Image { number: 2, cpu_ns: Some(after_ns), ..said.image("second", "second", &next(python)) },
            ]
        },
    );
}

#[test]
fn an_exec_into_another_version() {
    check_exec("exec", false, "execute");
}

#[test]
fn an_exec_of_a_process_that_ran_before() {
    check_exec("exec of an old process", true, "execute");
}

#[test]
fn an_exec_from_a_thread() {
    check_exec("exec from a thread", false, "from_thread");
}
