//! What an operator knows a process by, in every output; and one profile per group of processes. The truth is what the
//! test gives to its targets: their environment, their control group.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pyprof_host::Held;
use pyprof_tests::pythons::{python, two_at_a_time};
use pyprof_tests::target::{wait_for_cpu, wait_for_threads};
use pyprof_tests::{Capture, Profile, Python, Scratch, Target, capture, go};

/// Prints its pid and that of a child, both of which spin until the end; `exec` becomes another program on a word.
const SOURCE: &str = r#"
import os, sys

def spin():
    while True:
        for _ in range(2000):
            pass

def forked():
    spin()

if len(sys.argv) > 1 and sys.argv[1] == "fork":
    sys.stdin.readline()
    pid = os.fork()
    if pid == 0:
        forked()
    print(pid, flush=True)
elif len(sys.argv) > 1 and sys.argv[1] == "exec":
    sys.stdin.readline()
    os.environ["DD_SERVICE"] = "after"
    os.execv(sys.executable, [sys.executable, sys.argv[0]])
else:
    print("ready", flush=True)
spin()
"#;

const SECRET: &str = "hunter2-s3cr3t";
const POD: &str = "8712f785-1a3e-41ec-a00b-e2dcc77431cb";

struct Script {
    _scratch: Scratch,
    path: PathBuf,
}

fn script(name: &str) -> Script {
    let scratch = Scratch::new("labels");
    let path = scratch.path().join(name);
    std::fs::write(&path, SOURCE).expect("the script");
    Script { _scratch: scratch, path }
}

fn target(python: &Python, script: &Script, variables: &[(&str, &str)], how: &str) -> Target {
    let mut command = Command::new(&python.path);
    command.arg(&script.path).envs(variables.iter().copied()).env("API_TOKEN", SECRET);
    if !how.is_empty() {
        command.arg(how);
    }
    let mut target = Target::command(command);
    if how.is_empty() {
        target.line();
    }
    target
}

/// A control group as the kubelet makes it; it goes when its processes are gone.
struct Container {
    id: String,
    path: PathBuf,
    _held: Held,
}

impl Container {
    fn new() -> Container {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // systemd's own hierarchy of a hybrid host, or the unified one.
        let roots = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
        let root = roots.into_iter().find(|root| Path::new(root).join("cgroup.procs").exists());
        let mut path = PathBuf::from(root.expect("control groups are mounted"));
        let id = format!("{number:08x}{:08x}", std::process::id()).repeat(4);
        path.push(format!("pyprof-labels-{}-{number}", std::process::id()));
        let held = pyprof_host::group(&path).unwrap_or_else(|error| panic!("{error:#}"));
        path.extend([&format!("pod{POD}"), &id]);
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Container { id, path, _held: held }
    }

    fn add(&self, pid: u32) {
        std::fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("root moves processes");
    }
}

const KEYS: [&str; 6] = ["service", "env", "version", "container_id", "pod_uid", "unit"];

/// All that capture.json says of a process, and that every sample says the same.
fn labels(capture: &Capture, process: &serde_json::Value) -> BTreeMap<String, String> {
    let known: BTreeMap<String, String> =
        KEYS.iter().filter_map(|key| Some(((*key).to_owned(), process[*key].as_str()?.to_owned()))).collect();
    let profile = capture.profile_of(process);
    let pid = process["pid"].as_i64().expect("a pid");
    let own: Vec<_> = profile.samples.iter().filter(|sample| sample.numbers["pid"] == pid).collect();
    assert!(!own.is_empty(), "{process}");
    for sample in own {
        let mut labels: BTreeMap<_, _> = sample.labels.clone().into_iter().collect();
        labels.remove("thread_name");
        labels.retain(|key, _| KEYS.contains(&key.as_str()));
        assert_eq!(labels, known, "{process}");
    }
    known
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn labels_are_in_every_output_and_survive_fork_and_exec() {
    let script = script("labelled.py");
    let attributes = format!("service.name=pay%20ments,deployment.environment=dev,token={SECRET}");
    two_at_a_time(|python| {
        let container = Container::new();
        let datadog = [("DD_SERVICE", "checkout"), ("DD_ENV", "prod"), ("DD_VERSION", "1.2.3")];
        let mut forker = target(python, &script, &datadog, "fork");
        let mut execer = target(python, &script, &[("OTEL_RESOURCE_ATTRIBUTES", &attributes)], "exec");
        let plain = target(python, &script, &[], "");
        let contained = target(python, &script, &[("OTEL_SERVICE_NAME", "inside")], "");
        container.add(contained.pid());
        // What the machine that runs the test puts a process into.
        let unit = std::fs::read_to_string(format!("/proc/{}/cgroup", plain.pid())).expect("it lives");
        assert!(![".service", ".scope"].iter().any(|suffix| unit.contains(suffix)), "{unit}");

        let recording = capture::start(&["-F", "499", "--max-cpu", "400"]);
        std::thread::sleep(Duration::from_millis(300));
        forker.tell("go");
        let child: u32 = forker.line().parse().expect("a pid");
        execer.tell("go");
        assert_eq!(execer.line(), "ready");
        let late = target(python, &script, &[("DD_SERVICE", "late"), ("OTEL_SERVICE_NAME", "no")], "");
        for pid in [forker.pid(), child, execer.pid(), plain.pid(), contained.pid(), late.pid()] {
            wait_for_cpu(pid, Duration::from_millis(100));
        }
        let capture = recording.stop();
        // SAFETY: the child of our own target, which nobody has waited for.
        unsafe { libc::kill(child as i32, libc::SIGKILL) };
        assert_eq!(capture.code, 0, "{python}: {}", capture.stderr);

        let rows = [
            (forker.pid(), &datadog.map(|(key, value)| (&key[3..], value))[..]),
            (child, &datadog.map(|(key, value)| (&key[3..], value))[..]),
            (plain.pid(), &[]),
            (late.pid(), &[("service", "late")]),
            (contained.pid(), &[("service", "inside"), ("container_id", &container.id), ("pod_uid", POD)]),
        ];
        for (pid, expected) in rows {
            let expected: Vec<(String, &str)> =
                expected.iter().map(|(key, value)| (key.to_lowercase(), *value)).collect();
            let expected: BTreeMap<String, String> =
                expected.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
            assert_eq!(labels(&capture, capture.process(pid)), expected, "{python}: {pid}");
        }
        // Another environment from the exec on; before it the process waited, mostly without a sample.
        let images = capture.processes(execer.pid());
        let after = images.last().expect("it ran");
        assert_eq!(labels(&capture, after), map(&[("service", "after"), ("env", "dev")]), "{python}");

        let json = capture.json.to_string();
        assert!(!json.contains(SECRET) && !capture.stderr.contains(SECRET), "{python}: {json}");

        // The table, where other processes of this host leave it room.
        let pids = [forker.pid(), plain.pid(), contained.pid()].map(|pid| pid.to_string());
        let [first, second, third] = pids.each_ref().map(String::as_str);
        let recording = capture::start(&["-F", "499", "-p", first, "-p", second, "-p", third]);
        for target in [&forker, &plain, &contained] {
            target.wait_for_cpu(Duration::from_millis(100));
        }
        let capture = recording.stop();
        assert_eq!(capture.code, 0, "{python}: {}", capture.stderr);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = capture.stderr.lines().map(words).collect();
        for row in [
            "PID NAME CONTAINER PYTHON ".to_owned(),
            format!("{} checkout (labelled) {} ", forker.pid(), python.version),
            format!("{} inside (labelled) {} {} ", contained.pid(), &container.id[..12], python.version),
            format!("{} labelled {} ", plain.pid(), python.version),
        ] {
            assert!(lines.iter().any(|line| line.starts_with(&row)), "{row:?}: {}", capture.stderr);
        }
        drop((contained, plain, late, forker, execer));
    });
}

/// Prints the tid of each thread that has a name, and then spins in all of them. One is renamed for the kernel, one is not
/// Python's own.
const THREADS: &str = r#"
import os, threading, time, _thread, sys

def spin():
    while True:
        for _ in range(50000):
            pass
        time.sleep(0.001)

def named():
    if threading.current_thread().name in names:
        tid = int(os.readlink("/proc/thread-self").split("/")[-1])
        sys.stdout.write("%d %s\n" % (tid, threading.current_thread().name))
    if threading.current_thread().name == "both":
        with open("/proc/thread-self/comm", "w") as comm:
            comm.write("kernels-own")
    if threading.current_thread().name in names:
        barrier.wait()
    spin()

barrier = threading.Barrier(6)
names = ["worker", u"na\u00efve \u65e5", "a name that is longer than the kernel takes", "both"]
for name in names:
    threading.Thread(target=named, name=name, daemon=True).start()
_thread.start_new_thread(lambda: (barrier.wait(), spin()), ())
barrier.wait()
print("ready", flush=True)
sys.stdin.readline()
threading.Thread(target=named, name="after the start", daemon=True).start()
spin()
"#;

#[test]
fn threads_have_the_names_that_python_gives_them() {
    two_at_a_time(|python| {
        let scratch = Scratch::new("named");
        let path = scratch.path().join("named.py");
        std::fs::write(&path, THREADS).expect("the script");
        let mut command = Command::new(&python.path);
        command.arg(&path).env("PYTHONIOENCODING", "utf-8");
        let mut target = Target::command(command);
        let mut expected: BTreeMap<i64, String> = BTreeMap::new();
        loop {
            let line = target.line();
            if line == "ready" {
                break;
            }
            let (tid, name) = line.split_once(' ').expect("TID NAME");
            expected.insert(tid.parse().expect("a tid"), name.to_owned());
        }
        let pid = target.pid();
        expected.insert(pid.into(), "MainThread".into());
        assert_eq!(expected.len(), 5, "{python}");
        let recording = capture::start(&["-F", "499", "--max-cpu", "400", "-p", &pid.to_string()]);
        target.wait_for_cpu(Duration::from_millis(500));
        // One that starts when names have been asked for already.
        target.tell("go");
        wait_for_threads(pid, 7, Duration::from_millis(200));
        let capture = recording.stop();
        assert_eq!(capture.code, 0, "{python}: {}", capture.stderr);
        let mut seen: BTreeMap<i64, BTreeMap<String, String>> = BTreeMap::new();
        for sample in capture.profile(pid).samples {
            let names = sample.labels.into_iter().filter(|(key, _)| key.ends_with("thread_name")).collect();
            let tid = sample.numbers["thread_id"];
            let before = seen.insert(tid, names);
            assert!(before.is_none_or(|before| before == seen[&tid]), "{python}: {tid} has two names");
        }
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives");
        let mut others = Vec::new();
        for (tid, names) in &seen {
            match expected.remove(tid) {
                Some(name) if name == "both" => {
                    let both = [("thread_name", "both"), ("os_thread_name", "kernels-own")];
                    assert_eq!(names, &map(&both), "{python}");
                }
                Some(name) => assert_eq!(names, &map(&[("thread_name", &name)]), "{python}"),
                None => others.push(names["thread_name"].clone()),
            }
        }
        // Besides, the late one, and the one that only the kernel has a name for: that of the process.
        others.sort();
        let mut rest = vec!["after the start".to_owned(), comm.trim_end().to_owned()];
        rest.sort();
        assert_eq!(others, rest, "{python}");
        assert!(expected.is_empty(), "{python}: {expected:?} of {seen:?}");
    });
}

/// Sums by pid: samples and ns.
fn by_pid(profile: &Profile) -> BTreeMap<i64, (u64, u64)> {
    let mut sums: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for sample in &profile.samples {
        let sum = sums.entry(sample.numbers["pid"]).or_default();
        *sum = (sum.0 + sample.count, sum.1 + sample.ns);
    }
    sums
}

#[test]
fn groups_share_a_profile_and_keep_their_pids() {
    let (app, other) = (script("app.py"), script("other.py"));
    let (old, new) = (python(8), python(13));
    let container = Container::new();
    let targets = [
        target(&old, &app, &[("DD_SERVICE", "shop/a b")], ""),
        target(&new, &other, &[("DD_SERVICE", "shop/a b")], ""),
        target(&new, &app, &[], ""),
        target(&new, &app, &[("DD_SERVICE", "shop.a.b")], ""),
    ];
    container.add(targets[1].pid());
    container.add(targets[2].pid());
    let pids: Vec<i64> = targets.iter().map(|target| target.pid().into()).collect();
    let id = format!("{}.pb.gz", container.id);
    let rows = [
        ("name", vec![("app.pb.gz", vec![0, 2, 3]), ("other.pb.gz", vec![1])]),
        (
            "service",
            vec![("shop_a_b.pb.gz", vec![0, 1]), ("app.pb.gz", vec![2]), ("shop.a.b.pb.gz", vec![3])],
        ),
        ("container", vec![("host.pb.gz", vec![0, 3]), (id.as_str(), vec![1, 2])]),
    ];
    for (by, groups) in rows {
        let mut args: Vec<String> =
            ["-F", "499", "--max-cpu", "400", "--merge-by", by].map(str::to_owned).to_vec();
        for pid in &pids {
            args.extend(["-p".to_owned(), pid.to_string()]);
        }
        let recording = capture::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
        for target in &targets {
            target.wait_for_cpu(Duration::from_millis(500));
        }
        let capture = recording.stop();
        assert_eq!(capture.code, 0, "{by}: {}", capture.stderr);
        let entries = std::fs::read_dir(capture.directory()).expect("the output");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let mut expected: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
        expected.push("capture.json");
        expected.sort_unstable();
        assert_eq!(names, expected, "{by}");
        for (file, members) in &groups {
            let path = capture.directory().join(file);
            let profile = Profile::read(&path);
            let mut expected = BTreeMap::new();
            let mut executables = std::collections::BTreeSet::new();
            for member in members {
                let process = capture.process(pids[*member] as u32);
                assert_eq!(process["file"], *file, "{by}");
                let count = |key: &str| process[key].as_u64().expect("a count");
                expected.insert(pids[*member], (count("samples"), count("cpu_ns")));
                executables.insert(process["executable"].as_str().expect("a path").to_owned());
                labels(&capture, process);
            }
            assert_eq!(by_pid(&profile), expected, "{by} {file}");
            let all = expected.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let (spin, _) = profile.cumulative("spin");
            // There must be something to sum up: 249 ticks each.
            assert!(all.0 > 20 * members.len() as u64, "{by} {file}: {all:?}");
            assert!(spin * 100 >= all.0 * 99, "{by} {file}: {spin} of {all:?}: {:?}", profile.stacks());
            // Another reader finds the same, and every executable.
            assert_eq!(go::top(&[], &path).values().map(|(flat, _)| flat).sum::<u64>(), all.1, "{by} {file}");
            let raw = go::pprof(&["-raw"], &path);
            let (_, mappings) = raw.split_once("\nMappings\n").expect("mappings");
            for executable in &executables {
                assert!(mappings.contains(executable.as_str()), "{by} {file}: {executable}: {mappings}");
            }
            assert_eq!(mappings.lines().count(), executables.len(), "{by} {file}: {mappings}");
        }
        // The file to open is the one with the hottest process in it, and the table still has every process.
        let hottest = capture.json["processes"].as_array().expect("processes").iter();
        let hottest = hottest.max_by_key(|process| process["cpu_ns"].as_u64()).expect("one");
        let line = capture.stderr.lines().last().expect("a line");
        let file = hottest["file"].as_str().expect("a file");
        assert!(line.starts_with("go tool pprof") && line.ends_with(&format!("/{file}")), "{line}");
        let rows = capture
            .stderr
            .lines()
            .filter(|line| pids.iter().any(|pid| line.trim_start().starts_with(&format!("{pid} "))));
        assert_eq!(rows.count(), pids.len(), "{by}: {}", capture.stderr);
    }
    drop(targets);
}
