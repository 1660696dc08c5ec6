//! Targets in namespaces and roots of their own are found, unwound and named as the host knows them; a target's links
//! lead nowhere; and pyprof-bpf itself in a container works, or says why not.
//!
//! Ground truth: the clocks inside, `/proc` as the host sees it, and inotify. Ticks are even: a tenth of 400 ms is forty
//! ticks, where chance takes a few; the bounds leave room for a host that stands still for 50 ms.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyprof_tests::container::{Container, ROOTFUL, ROOTLESS, children, interpreter};
use pyprof_tests::pythons::python;
use pyprof_tests::{Capture, Python, Scratch, Target, capture, pythons};

const HZ: &str = "999";
const ARGS: [&str; 4] = ["-F", HZ, "--max-cpu", "400"];
const BURN: &str = include_str!("../targets/burn.py");
const INSIDE: &str = include_str!("../targets/inside.py");

fn app() -> Scratch {
    let app = Scratch::new("app");
    std::fs::write(app.path().join("inside.py"), format!("{BURN}\n{INSIDE}")).expect("the script");
    app
}

/// What a container is called on the host, and what it said of itself.
struct Ran {
    what: String,
    python: Python,
    pid: u32,
    child: u32,
    tids: BTreeSet<i64>,
    inside_ns: u64,
    forked_ns: u64,
}

/// Lets a container work, while looking at it from outside.
fn work(what: &str, python: &Python, mut container: Container) -> Ran {
    let pid = container.pid();
    let child = children(pid)[0];
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("NSpid");
    let numbers: Vec<u32> = numbers.split_whitespace().flat_map(str::parse).collect();
    assert!(numbers.len() >= 2 && numbers[0] == pid && numbers[1] != pid, "{what}: {numbers:?}");
    container.target.tell("go");
    // The second thread lives for 200 ms of work.
    let mut tids = BTreeSet::new();
    while tids.len() < 2 {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
        tids.extend(tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse::<i64>().ok()));
    }
    let said = container.target.wait();
    let ns = |word: &str| {
        let line = said.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{said:?}"));
        line.split_whitespace().last().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
    };
    let (inside_ns, forked_ns) = (ns("inside"), ns("forked"));
    Ran { what: what.to_owned(), python: python.clone(), pid, child, tids, inside_ns, forked_ns }
}

fn verify(capture: &Capture, ran: &Ran) {
    let Ran { what, python, pid, child, tids, inside_ns, forked_ns } = ran;
    let who = format!("{what}, {python}, process {pid}");
    for (pid, functions, ns) in
        [(*pid, &["inside", "beside"][..], *inside_ns), (*child, &["forked"][..], *forked_ns)]
    {
        let images = capture.processes(pid);
        let image = images.last().unwrap_or_else(|| panic!("{who}: it was not found: {}", capture.stderr));
        assert_eq!(image["name"], "inside", "{who}");
        assert_eq!(image["python_version"], *python.version, "{who}");
        assert_eq!(image["executable"], interpreter(python), "{who}");
        let file = image["file"].as_str().expect("a file");
        assert!(file.starts_with(&format!("inside-{pid}.")), "{who}: {file}");
        let profile = capture.profile_of(image);
        let seen: u64 = functions.iter().map(|function| profile.cumulative(function).1).sum();
        println!("{who}: {file}: {:.1} %", 100.0 * seen as f64 / ns as f64);
        assert!(seen * 10 >= ns * 8 && seen * 10 <= ns * 12, "{who}: {file}: {seen} of {ns} ns");
        for sample in &profile.samples {
            assert_eq!(sample.numbers["pid"], i64::from(pid), "{who}");
            if pid == ran.pid {
                let tid = sample.numbers["thread_id"];
                assert!(tids.contains(&tid), "{who}: thread {tid} is none of {tids:?}");
            }
        }
    }
    let profile = capture.profile_of(capture.processes(*pid).last().expect("one"));
    let named = |name: &str| {
        profile.samples.iter().any(|sample| {
            let labels = ["thread_name", "os_thread_name"].map(|key| sample.labels.get(key));
            labels.iter().any(|it| it.is_some_and(|it| it == name))
        })
    };
    assert!(named("beside"), "{who}");
}

/// Those that run below another root: newer ones come from another suite, with a loader that is named by its path here.
fn movable() -> Vec<Python> {
    pythons().into_iter().filter(|python| python.minor < 14).collect()
}

/// `unshare` may be forbidden to those who are not root by the host; root is never refused.
#[test]
fn targets_in_namespaces_of_their_own() {
    let app = app();
    let pythons = movable();
    let rows = [("rootful", ROOTFUL), ("rootless", ROOTLESS)];
    let start = |python: &Python, namespaces| Container::start(python, namespaces, app.path(), "inside.py");
    // From before the capture, and during it.
    let before: Vec<Container> =
        pythons.iter().flat_map(|python| rows.map(|(_, namespaces)| start(python, namespaces))).collect();
    let recording = capture::start(&ARGS);
    let mut before = before.into_iter();
    let mut all = Vec::new();
    for python in &pythons {
        for (what, namespaces) in rows {
            let old = before.next().expect("one each");
            all.push(work(&format!("{what}, before"), python, old));
            all.push(work(what, python, start(python, namespaces)));
        }
    }
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    for ran in &all {
        verify(&capture, ran);
    }
}

/// Tells who opens or reads a file.
struct Watch(i32);

impl Watch {
    fn new(path: &Path) -> Watch {
        let path = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no NUL");
        // SAFETY: takes a number; the result is checked.
        let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: our own descriptor and a NUL-terminated path.
        let watch = unsafe { libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_OPEN | libc::IN_ACCESS) };
        assert!(watch >= 0, "{}", std::io::Error::last_os_error());
        Watch(fd)
    }

    /// Whether it has happened since the last question.
    fn happened(&self) -> bool {
        let mut events = [0u8; 4096];
        // SAFETY: a buffer of that size.
        unsafe { libc::read(self.0, events.as_mut_ptr().cast(), events.len()) > 0 }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: our own descriptor, closed once.
        unsafe { libc::close(self.0) };
    }
}

/// `CAP_SYS_ADMIN` and `CAP_CHECKPOINT_RESTORE` (`include/uapi/linux/capability.h`): without both, no `map_files`.
const OPENS_MAPPED_FILES: [libc::c_ulong; 2] = [21, 40];

/// Removes the libpython that it runs on, and puts a link to a file of the host in its place.
const TRAP: &str = "
library = [line.split()[-1] for line in open('/proc/self/maps') if 'libpython' in line][0]
os.unlink(library)
os.symlink(sys.argv[1], library)
say('ready', 0)
while True:
    for _ in range(2000):
        pass
";

#[test]
fn a_link_of_a_target_does_not_lead_to_a_file_of_the_host() {
    let python = python(13);
    let app = Scratch::new("trap");
    let library = "libpython3.13.so.1.0";
    std::fs::create_dir(app.path().join("lib")).expect("a directory");
    let original = python.path.parent().and_then(Path::parent).expect("PREFIX/bin").join("lib").join(library);
    // The secret is a libpython as well: nothing but the way to it may keep it from being read.
    let secret = Scratch::new("secret");
    let secret = secret.path().join("libpython3.13.so.1.0");
    std::fs::copy(&original, &secret).expect("a copy");
    std::fs::write(app.path().join("trap.py"), format!("{BURN}\n{TRAP}")).expect("the script");
    for (row, dropped) in [("map_files", &[][..]), ("no map_files", &OPENS_MAPPED_FILES[..])] {
        std::fs::copy(&original, app.path().join("lib").join(library)).expect("a copy");
        let inside = [&interpreter(&python), "/app/trap.py", secret.to_str().expect("a plain path")];
        let container = Container::run(&python, ROOTFUL, app.path(), &inside);
        let watch = Watch::new(&secret);
        let mut command = Command::new(capture::binary());
        // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
        unsafe {
            command.pre_exec(move || {
                for capability in dropped {
                    if libc::prctl(libc::PR_CAPBSET_DROP, *capability) != 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let pid = container.pid();
        let recording = capture::start_with(command, &["-F", HZ, "--max-cpu", "400"]);
        std::thread::sleep(std::time::Duration::from_millis(700));
        let capture = recording.stop();
        assert!(!watch.happened(), "{row}: the file of the host was opened");
        // With the kernel's own link it is profiled all the same.
        assert_eq!(
            capture.processes(pid).len(),
            usize::from(dropped.is_empty()),
            "{row}: {}",
            capture.stderr
        );
        assert!(capture.code == 0 || !dropped.is_empty(), "{row}: {}", capture.stderr);
        // The watch tells of what is opened.
        std::fs::read(&secret).expect("it is there");
        assert!(watch.happened(), "{row}: inotify says nothing");
        drop(container);
        std::fs::remove_file(app.path().join("lib").join(library)).expect("the link");
    }
}

/// The binary with all that it loads, in a root of its own with /proc and /sys, and with /tmp for its output.
fn image() -> Scratch {
    let image = Scratch::new("image");
    let add = |path: &Path| {
        let place = image.path().join(path.strip_prefix("/").expect("an absolute path"));
        std::fs::create_dir_all(place.parent().expect("below the root")).expect("a directory");
        std::fs::copy(path, place).expect("a copy");
    };
    let libraries = Command::new("ldd").arg(capture::binary()).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&libraries.stdout).into_owned();
    // A static binary has none.
    for path in text.split_whitespace().filter(|word| word.starts_with('/')) {
        add(Path::new(path));
    }
    std::fs::copy(capture::binary(), image.path().join("pyprof-bpf")).expect("a copy");
    for directory in ["proc", "sys", "tmp"] {
        std::fs::create_dir(image.path().join(directory)).expect("a directory");
    }
    image
}

/// Runs the binary of an image with these mounts, in a mount namespace of its own.
fn in_image(image: &Scratch, mounts: &[&str]) -> Command {
    let mut script = "set -e; root=$1; shift; ".to_owned();
    for mount in mounts {
        script += match *mount {
            "proc" => "mount -t proc proc \"$root/proc\"; ",
            "sys" => "mount --rbind /sys \"$root/sys\"; ",
            _ => "mount --rbind \"${TMPDIR:-/tmp}\" \"$root/tmp\"; ",
        };
    }
    script += "exec chroot \"$root\" /pyprof-bpf \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "-n", "-u", "-i", "-C", "sh", "-c", &script, "sh"]).arg(image.path());
    command
}

#[test]
fn in_a_container_with_the_pids_of_the_host_it_works() {
    let (image, app) = (image(), app());
    let python = python(12);
    let container = Container::start(&python, ROOTFUL, app.path(), "inside.py");
    let source = "import os\nprint(os.getpid(), flush=True)\ndef spin():\n    while True: pass\nspin()\n";
    let plain = Target::start(&python, "plain.py", source, &[]);
    let recording = capture::start_with(in_image(&image, &["proc", "sys", "tmp"]), &ARGS);
    let ran = work("inside of another", &python, container);
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    verify(&capture, &ran);
    let (spin, all) =
        (capture.profile(plain.pid()).cumulative("spin").0, capture.profile(plain.pid()).total().0);
    assert!(spin > 50 && spin * 100 >= all * 95, "{spin} of {all}");
}

#[test]
fn without_the_pids_of_the_host_it_says_why_not() {
    let image = image();
    let output = Scratch::new("output");
    let namespaced = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(arguments).arg(capture::binary());
        command
    };
    let rows: [(&str, Command, &[&str]); 4] = [
        ("own pids, own /proc", namespaced(&["-p", "--fork", "--mount-proc"]), &["pid namespace", "hostPID"]),
        ("own pids, /proc of the host", namespaced(&["-p", "--fork"]), &["pid namespace", "hostPID"]),
        ("no /proc", in_image(&image, &["sys", "tmp"]), &["not in its proc"]),
        ("no /sys", in_image(&image, &["proc", "tmp"]), &["/sys/kernel/btf/vmlinux"]),
    ];
    for (row, mut command, words) in rows {
        let directory: PathBuf = output.path().join("out");
        let ran = command.args(["-d", "1", "-o"]).arg(&directory).output().expect("unshare runs");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        println!("{row}: {:?}: {}", ran.status.code(), stderr.trim());
        assert_eq!(ran.status.code(), Some(7), "{row}: {stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{row}: {stderr}");
        assert!(!directory.exists(), "{row}: a directory was left");
    }
}
