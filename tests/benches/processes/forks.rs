//! Children without exec: Python processes from their first tick on, with the interpreter of their parent.

use pyprof_tests::{Target, capture};

use super::{BURN, HZ, Image, Said, check, python_command, run, script};

const FORK: &str = "
def child():
    say('child', burn(1000))
    os._exit(0)

def grandchild():
    say('grandchild', burn(1000))
    os._exit(0)

def fork():
    pid = os.fork()
    if pid == 0:
        child()
    total(pid)

def double_fork():
    # The child goes at once, as a daemon's does; the end of the pipe says that the orphan is done.
    end, other = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            grandchild()
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(other)
    os.read(end, 1)

def fork_in_thread():
    import threading
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()

go()
{fork,double_fork,fork_in_thread}[0]()
";

/// `call` forks without exec; the child's work is under a function that only it runs, from its first tick on.
fn check_fork(call: &str, what: &'static str, has_total: bool) {
    let source = FORK.replace("{fork,double_fork,fork_in_thread}[0]", call);
    let source = format!("{BURN}\n{source}");
    check(
        call,
        |python| Some(Target::start(python, "forker.py", &source, &[])),
        |python, target| {
            let mut target = target.expect("started before");
            target.tell("go");
            let said = Said::of(&target.wait());
            let cpu_ns = has_total.then(|| said.ns("total"));
            let work = vec![("burn", said.ns(what)), (what, said.ns(what))];
            vec![Image { cpu_ns, work, ..said.image(what, "forker", python) }]
        },
    );
}

#[test]
fn a_fork_without_exec() {
    check_fork("fork", "child", true);
}

#[test]
fn a_double_fork() {
    check_fork("double_fork", "grandchild", false);
}

#[test]
fn a_fork_from_a_thread() {
    check_fork("fork_in_thread", "child", true);
}

#[test]
fn a_fork_of_a_process_that_just_started() {
    let source = FORK.replace("go()\n{fork,double_fork,fork_in_thread}[0]", "fork");
    let (_scratch, path) = script("fresh.py", &source);
    check(
        "a fork soon after exec",
        |_| None,
        |python, _| {
            let (_, said, _) = run(python_command(python, &path), None);
            vec![Image { cpu_ns: Some(said.ns("total")), ..said.image("child", "fresh", python) }]
        },
    );
}

/// A parent that forks all the time, from before the profiler looks around until after it samples.
const STORM: &str = "
import signal
pids = []
say('ready', 0)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    time.sleep(0.003)
    pid = os.fork()
    if pid == 0:
        time.sleep(2 - max(0, time.monotonic() - end + 1.5))
        burn(8)
        os._exit(0)
    pids.append(pid)
for pid in pids:
    os.waitpid(pid, 0)
print(' '.join(map(str, pids)))
";

#[test]
fn no_fork_falls_between_the_first_look_and_the_first_event() {
    let python = pyprof_tests::pythons::python(11);
    let target = Target::start(&python, "storm.py", &format!("{BURN}\n{STORM}"), &[]);
    let recording = capture::start(&["-F", HZ, "--max-cpu", "400"]);
    let said = target.wait();
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    // 8 ms are eight ticks: a child without a single one was not followed.
    let pids: Vec<u32> = said.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect();
    let lost: Vec<&u32> = pids.iter().filter(|pid| capture.processes(**pid).is_empty()).collect();
    assert!(pids.len() > 100 && lost.is_empty(), "{} of {} children lost: {lost:?}", lost.len(), pids.len());
    eprintln!("  {} children", pids.len());
}
