//! Nothing of a command line but the name of the script, and nothing of the environment, leaves the target: not into a
//! file, not onto the terminal.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use pyprof_tests::{Python, Scratch, Target, pythons};

use super::{SPIN, list, pyprof, run};

const SECRET: &str = "hunter2-s3cr3t";

fn started(command: &mut Command) -> Target {
    let mut target = Target::command(std::mem::replace(command, Command::new("/bin/true")));
    target.line();
    target
}

/// Targets with a secret in every place that an operator might put one.
fn targets(python: &Python, scratch: &Scratch) -> Vec<Target> {
    let script = scratch.path().join("service.py");
    fs::write(&script, SPIN).expect("the script");
    let new = || {
        let mut command = Command::new(&python.path);
        command.env("API_TOKEN", SECRET).env(format!("KEY_{SECRET}"), "1").current_dir(scratch.path());
        command
    };
    let options = ["-W", &format!("ignore:{SECRET}"), "-X", &format!("opt={SECRET}")].map(str::to_owned);
    vec![
        started(new().arg(&script).arg(SECRET).arg(format!("--password={SECRET}")).args(["-p", SECRET])),
        started(new().args(&options).arg(&script).arg(SECRET)),
        started(new().args(["-m", "service", SECRET])),
        started(new().arg("-c").arg(format!("token = '{SECRET}'\n{SPIN}")).arg(SECRET)),
    ]
}

/// The bytes that a reader of the file sees.
fn contents(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("our own file");
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut all = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut all).expect("gzip");
    all
}

#[test]
fn no_argument_and_no_variable_leaves_the_target() {
    let all = pythons();
    for python in all.iter().filter(|python| python.is_static || python.minor == 8 || python.minor == 13) {
        let scratch = Scratch::new("secrets");
        let targets = targets(python, &scratch);
        let directory = Scratch::new("privacy");
        let mut command = pyprof(&directory);
        command.args(["-d", "1", "-F", "499", "--max-cpu", "400", "-v", "-o", "out"]);
        for target in &targets {
            command.arg("-p").arg(target.pid().to_string());
        }
        let ran = run(&mut command);
        assert_eq!(ran.code, Some(0), "{python}: {}", ran.stderr);
        assert!(!ran.stderr.contains(SECRET), "{python}: {}", ran.stderr);
        let out = directory.path().join("out");
        let names = list(&out);
        assert_eq!(names.len(), targets.len() + 1, "{python}: {names:?}");
        for name in &names {
            let bytes = contents(&out.join(name));
            assert!(!name.contains(SECRET), "{python}: {name}");
            let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!found, "{python}: the secret is in {name}");
        }
        let expected: Vec<String> =
            targets[..3].iter().map(|target| format!("service-{}.pb.gz", target.pid())).collect();
        assert!(expected.iter().all(|name| names.contains(name)), "{python}: {names:?}");
        assert!(names.iter().any(|name| name.starts_with("python3")), "{python}: {names:?}");
    }
}
