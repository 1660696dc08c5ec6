//! Processes that end while they are sampled, or whose first thread has ended while the others go on.

use pyprof_tests::Target;

use super::{BURN, Image, Said, check, python_command, run, script};

#[test]
fn a_process_that_is_killed_while_sampled() {
    let (_scratch, path) = script("killed.py", "burn(60000)\n");
    check(
        "killed",
        |_| None,
        |python, _| {
            let (pid, mut said, cpu_ns) = run(python_command(python, &path), Some(1000));
            said.0.insert("work".into(), (pid, 0));
            let image = said.image("work", "killed", python);
            vec![Image { cpu_ns: Some(cpu_ns), work: Vec::new(), ..image }]
        },
    );
}

#[test]
fn a_process_that_exits_with_threads_that_run() {
    let source = "
import threading
begin = now()
for _ in range(3):
    threading.Thread(target=burn, args=(60000,), daemon=True).start()
rest()
say('work', now() - begin)
os._exit(0)
";
    let (_scratch, path) = script("exits.py", source);
    check(
        "exits",
        |_| None,
        |python, _| {
            let (_, said, cpu_ns) = run(python_command(python, &path), None);
            // The threads take the GIL, and go on, between the last look at the clock and the exit.
            vec![Image { cpu_ns: Some(cpu_ns), goes_on: true, ..said.image("work", "exits", python) }]
        },
    );
}

const ZOMBIE: &str = "
import ctypes
import threading

def work():
    while open('/proc/self/stat').read().rpartition(')')[2].split()[0] != 'Z':
        time.sleep(0.001)
    BEGIN
    say('work', burn(1000))
    os._exit(0)

libc = ctypes.CDLL('libc.so.6')
threading.Thread(target=work).start()
libc.pthread_exit(None)
";

#[test]
fn a_zombie_leader_with_live_threads() {
    let (_scratch, path) = script("zombie.py", &ZOMBIE.replace("BEGIN", ""));
    check(
        "zombie leader",
        |_| None,
        |python, _| {
            let (_, said, cpu_ns) = run(python_command(python, &path), None);
            vec![Image { cpu_ns: Some(cpu_ns), ..said.image("work", "zombie", python) }]
        },
    );
}

#[test]
fn a_leader_that_was_a_zombie_before() {
    let source = format!("{BURN}\n{}", ZOMBIE.replace("BEGIN", "go()"));
    check(
        "zombie leader before",
        |python| Some(Target::start(python, "zombie.py", &source, &[])),
        |python, target| {
            let mut target = target.expect("started before");
            target.tell("go");
            let said = Said::of(&target.wait());
            vec![Image { cpu_ns: Some(said.ns("work")), ..said.image("work", "zombie", python) }]
        },
    );
}
