//! What runs inside a kernel: the workloads and checks of tests/, with the interpreters that they are to run on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::arch::Arch;
use crate::interpreters;
use crate::test::of_this_machine;
use crate::util::{Workspace, output, run};

/// Where the guest finds its plan, and what the tests read.
pub(super) const PLAN: &str = "/vm.json";
pub(super) const MATRIX: &str = "/matrix.json";
/// The list for all kernels but the oldest, if that is shorter.
pub(super) const MATRIX_OF_OTHERS: &str = "/matrix-of-others.json";

#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) env: BTreeMap<String, String>,
    /// In CI the oldest kernel has all interpreters, and any other only that with debug offsets.
    pub(super) is_ci: bool,
    /// Of the machine that makes the image.
    #[serde(skip)]
    pub(super) interpreters: Vec<(String, PathBuf)>,
    #[serde(skip)]
    pub(super) programs: Vec<PathBuf>,
    /// This program, as it runs there.
    #[serde(skip)]
    pub(super) own: PathBuf,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Step {
    /// The column of the table.
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    /// Runs meanwhile: something to see.
    pub(super) beside: Vec<String>,
    pub(super) limit_s: u64,
    /// Note what the verifier says of the programs that it loads.
    pub(super) is_counted: bool,
}

/// Versions that differ in how a stack is found: by the frame list (3.9), by interpreter frames (3.11, 3.13), by debug offsets
/// (3.13, 3.15).
const PYENV: [&str; 3] = ["pyenv-3.9", "pyenv-3.11", "pyenv-3.13"];
/// What is new with a kernel shows with the oldest, and with 3.15, which stands for what has debug offsets.
const IN_CI: &str = "pyenv-3.9";
pub(super) const FETCHED: &str = "sid-3.15";

/// The test binaries that run, and what of them.
struct Test {
    binary: &'static str,
    name: &'static str,
    filters: &'static [&'static str],
    in_ci: bool,
}

/// Those that do not race against a clock.
const PROCESSES: [&str; 4] = [
    "a_fork_without_exec",
    "a_double_fork",
    "an_exec_of_a_process_that_ran_before",
    "a_zombie_leader_with_live_threads",
];

const TESTS: [Test; 7] = [
    Test { binary: "matrix", name: "stacks", filters: &[], in_ci: true },
    Test {
        binary: "off_cpu",
        name: WAITS,
        filters: &["planted_waits_stand_at_their_lines_and"],
        in_ci: false,
    },
    Test { binary: "adds_up", name: "accounting", filters: &[], in_ci: false },
    Test {
        binary: "adds_up",
        name: "accounting",
        filters: &["every_tick_of_the_host_is_accounted_for", "threads_add_up"],
        in_ci: true,
    },
    Test { binary: WHOLE_HOST, name: "throttled", filters: &["throttle::"], in_ci: false },
    Test { binary: "processes", name: "processes", filters: &PROCESSES, in_ci: false },
    Test { binary: WHOLE_HOST, name: CLOCK, filters: &[SETS_THE_CLOCK], in_ci: true },
];

const CLOCK: &str = "clock";
/// The tests that change the whole host, and those of them that set its clock: these run here and nowhere else, whether in CI
/// or not.
pub(crate) const WHOLE_HOST: &str = "whole_host";
pub(crate) const SETS_THE_CLOCK: &str = "clock::";
const ALWAYS: [&str; 2] = ["stacks", CLOCK];

/// The checks that count instructions: the usual capture, and one off the CPU.
pub(super) const COUNTED: [&str; 2] = ["load", OFF_CPU];
const OFF_CPU: &str = "off-cpu";
const WAITS: &str = "waits";

/// In the order of the table.
pub(super) const CHECKS: [&str; 8] =
    [COUNTED[0], COUNTED[1], "stacks", WAITS, "accounting", "throttled", "processes", CLOCK];

/// What there is to run.
pub(super) struct Parts {
    pub(super) own: PathBuf,
    pub(super) product: PathBuf,
    /// By name.
    pub(super) binaries: BTreeMap<String, PathBuf>,
    pub(super) interpreters: Vec<(String, PathBuf)>,
}

/// Everything of this machine's own kind, built or found.
pub(super) fn parts(workspace: &Workspace, is_ci: bool) -> Result<Parts> {
    run(workspace.cargo().args(["build", "--release", "--quiet", "--package", "profiler-user"]))?;
    let mut interpreters = Vec::new();
    for (name, found) in of_this_machine()? {
        if PYENV.contains(&name.as_str()) && (!is_ci || name == IN_CI) {
            interpreters.push((name.clone(), found.map_err(|why| anyhow::anyhow!("{name}: {why}"))?));
        }
    }
    for (name, fetched) in interpreters::look(&[FETCHED.to_owned()], true)? {
        let fetched = fetched.with_context(|| format!("failed to get {name}"))?;
        interpreters.push((name.to_owned(), interpreters::native(&fetched)?));
    }
    Ok(Parts {
        own: std::env::current_exe().context("failed to find this program")?,
        product: workspace.target_dir.join("release/pyprof-bpf"),
        binaries: tests_of(workspace.cargo().arg("test"))?,
        interpreters,
    })
}

/// All checks, or those of these names.
pub(super) fn plan(parts: Parts, arch: &Arch, only: &[String], is_ci: bool) -> Result<Plan> {
    let Parts { own, product, binaries, interpreters } = parts;
    let (_, python) = interpreters.first().context("no interpreters")?;
    let seconds = (2 * arch.slower).to_string();
    let load = |name: &str, more: &[&str]| {
        let place = format!("/tmp/{name}");
        let args = [&["-v", "-d", &seconds, "--max-cpu", "400", "-o", &place], more].concat();
        Step {
            name: name.to_owned(),
            program: product.clone(),
            args: args.into_iter().map(str::to_owned).collect(),
            beside: [&python.display().to_string(), "-c", "while True: pass"].map(str::to_owned).to_vec(),
            limit_s: 120 * arch.slower,
            is_counted: true,
        }
    };
    let mut steps = vec![load(COUNTED[0], &[]), load(OFF_CPU, &["--off-cpu"])];
    for test in TESTS.iter().filter(|test| test.in_ci == is_ci || ALWAYS.contains(&test.name)) {
        let program = binaries.get(test.binary).with_context(|| format!("no test binary {}", test.binary))?;
        let mut args = vec!["--test-threads=1".to_owned(), "--nocapture".to_owned()];
        args.extend(test.filters.iter().map(|filter| (*filter).to_owned()));
        steps.push(Step {
            name: test.name.to_owned(),
            program: program.clone(),
            args,
            beside: Vec::new(),
            limit_s: 600 * arch.slower,
            is_counted: false,
        });
    }
    steps.retain(|step| only.is_empty() || only.contains(&step.name));
    if steps.is_empty() {
        bail!("no check is called {}", only.join(" or "));
    }
    let paths =
        std::env::join_paths(interpreters.iter().map(|(_, path)| path)).context("a path with a colon")?;
    let env = [
        ("PYPROF_BIN", product.display().to_string()),
        ("PYPROF_PYTHONS", paths.to_string_lossy().into_owned()),
        ("PYPROF_EMULATED", "1".to_owned()),
        ("PYPROF_FEWER", "1".to_owned()),
        ("PYPROF_MATRIX", MATRIX.to_owned()),
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("HOME", "/tmp".to_owned()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).into();
    let mut programs: Vec<PathBuf> = steps.iter().map(|step| step.program.clone()).collect();
    programs.push(product);
    Ok(Plan { steps, env, is_ci, interpreters, programs, own })
}

/// Built by a cargo that tests, and where they are, by name.
pub(super) fn tests_of(cargo: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    cargo.args(["--release", "--package", "pyprof-tests", "--no-run", "--quiet"]);
    for test in &TESTS {
        cargo.args(["--bench", test.binary]);
    }
    let said = output(cargo.arg("--message-format=json")).context("failed to build the tests")?;
    let mut found = BTreeMap::new();
    for line in said.lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo said no JSON")?;
        if let (Some(name), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            found.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    if found.is_empty() {
        bail!("cargo named no test binaries");
    }
    Ok(found)
}
