//! Code objects die and others take their place in memory: no function may ever be shown under the name of another.

use std::collections::{HashMap, HashSet};

use pyprof_tests::{Frame, Profile, Python, Target, capture, pythons};

const SOURCE: &str = include_str!("../targets/churn.py");

/// Functions alive at once, in the first part of the churn.
const SLOTS: &str = "600";
/// CPU time of each call, microseconds: three ticks.
const BUSY: &str = "600";
/// Functions made, called and freed one at a time, in the second part.
const QUICK: &str = "400";

/// `f_<number>_<first line>` and `w_<number>_<first line>_<first line of f>`.
#[derive(PartialEq, Debug)]
enum Churned {
    Function { number: u32, first: i64 },
    Wrapper { number: u32, first: i64, calls: i64 },
}

fn churned(name: &str) -> Option<Churned> {
    let mut parts = name.split('_');
    let kind = parts.next()?;
    let numbers: Vec<i64> = parts.map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match (kind, numbers.as_slice()) {
        ("f", &[number, first]) => Some(Churned::Function { number: number as u32, first }),
        ("w", &[number, first, calls]) => Some(Churned::Wrapper { number: number as u32, first, calls }),
        _ => None,
    }
}

/// Whether all that is shown of a frame belongs to one function that existed.
fn is_consistent(frame: &Frame, log: &HashMap<String, u64>) -> bool {
    let (number, first, lines) = match churned(&frame.name) {
        // The loop begins on the line after `def` and has two lines.
        Some(Churned::Function { number, first }) => (number, first, first..=first + 2),
        Some(Churned::Wrapper { number, first, .. }) => (number, first, first..=first + 1),
        None => return true,
    };
    log.contains_key(&frame.name)
        && frame.file == format!("/churn/{number}.py")
        && frame.start_line == first
        && lines.contains(&frame.line)
}

/// The stacks that the program can have: a wrapper is called by `churn`, a function by its own wrapper on the wrapper's second
/// line, and nothing else is called but `make`.
fn is_possible(frames: &[Frame]) -> bool {
    let mut root_first = frames.iter().rev();
    if root_first.next().is_none_or(|frame| frame.name != "<module>") {
        return false;
    }
    let rest: Vec<&Frame> = root_first.collect();
    match rest.as_slice() {
        [] => true,
        [churn, rest @ ..] if churn.name == "churn" => match rest {
            [] => true,
            // The module of the new functions is run by `make`.
            [make] if make.name == "make" => true,
            [make, module] if make.name == "make" => {
                module.name == "<module>" && module.file.starts_with("/churn/")
            }
            [wrapper] => matches!(churned(&wrapper.name), Some(Churned::Wrapper { .. })),
            [wrapper, function] => match (churned(&wrapper.name), churned(&function.name)) {
                (
                    Some(Churned::Wrapper { number, first, calls }),
                    Some(Churned::Function { number: called, first: at }),
                ) => number == called && calls == at && wrapper.line == first + 1,
                _ => false,
            },
            _ => false,
        },
        _ => false,
    }
}

fn check(python: &Python, profile: &Profile, log: &[(String, u64)]) {
    let mut names_at: HashMap<u64, HashSet<&str>> = HashMap::new();
    for (name, address) in log {
        names_at.entry(*address).or_default().insert(name);
    }
    let reused = names_at.values().filter(|names| names.len() >= 2).count();
    assert!(reused >= 500, "{python}: the target re-used only {reused} addresses: the test shows nothing");

    let by_name: HashMap<String, u64> = log.iter().cloned().collect();
    assert_eq!(by_name.len(), log.len(), "{python}: names are not unique");
    let (all, _) = profile.total();
    let (mut unnamed, mut wrong, mut impossible, mut on_churn) = (0, Vec::new(), Vec::new(), 0);
    let mut sampled: HashMap<u64, HashSet<&str>> = HashMap::new();
    for sample in &profile.samples {
        if sample.frames.iter().any(|frame| frame.name == "<unreadable>") {
            unnamed += sample.count;
            continue;
        }
        wrong.extend(sample.frames.iter().filter(|frame| !is_consistent(frame, &by_name)));
        // Stacks that say themselves that they are not whole make no claim about callers.
        let whole = !matches!(sample.frames.last(), Some(root) if root.name.starts_with('<') && root.name != "<module>");
        if whole && !is_possible(&sample.frames) {
            impossible.push(&sample.frames);
        }
        for frame in &sample.frames {
            if let Some((_, address)) = by_name.get_key_value(&frame.name) {
                sampled.entry(*address).or_default().insert(&frame.name);
            }
        }
        if sample.frames.iter().any(|frame| matches!(churned(&frame.name), Some(Churned::Function { .. }))) {
            on_churn += sample.count;
        }
    }
    let twice = sampled.values().filter(|names| names.len() >= 2).count();
    println!(
        "{python}: {all} samples, {on_churn} on churned functions, {} addresses, {reused} re-used, {twice} sampled \
         under two names or more, {unnamed} unnamed",
        names_at.len()
    );
    assert!(
        wrong.is_empty(),
        "{python}: {} frames of no function that was: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    assert!(
        impossible.is_empty(),
        "{python}: {} stacks that cannot be: {:#?}",
        impossible.len(),
        &impossible[..impossible.len().min(3)]
    );
    assert!(twice >= 300, "{python}: only {twice} re-used addresses were sampled under two names");
    // Each function works for three ticks: what is lost of them shows, however long the machine takes to compile.
    let functions = log.len() as u64 / 2;
    assert!(on_churn >= functions, "{python}: {on_churn} samples on {functions} churned functions");
    assert!(unnamed * 100 <= all, "{python}: {unnamed} of {all} samples have an unnamed frame");
}

/// Nothing here is a matter of chance but `twice`: 800 addresses and more host two functions or wrappers of three ticks each,
/// so that missing 500 of them would take a broken sampler.
#[test]
fn no_function_is_shown_under_the_name_of_another() {
    let pythons = pythons();
    let mut targets: Vec<Target> = pythons
        .iter()
        .map(|python| Target::start(python, "churn.py", SOURCE, &[SLOTS, BUSY, QUICK]))
        .collect();
    let pids: Vec<String> =
        targets.iter().flat_map(|target| ["-p".into(), target.pid().to_string()]).collect();
    let mut args = vec!["-F", "5000", "--max-cpu", "200"];
    args.extend(pids.iter().map(String::as_str));
    let recording = capture::start(&args);
    for target in &mut targets {
        target.tell("go");
    }
    for target in &mut targets {
        assert_eq!(target.line(), "done");
    }
    let capture = recording.stop();
    assert_eq!(capture.code, 0, "{}", capture.stderr);
    for (python, mut target) in pythons.iter().zip(targets) {
        let profile = capture.profile(target.pid()).without_collector();
        target.tell("log");
        let log: Vec<(String, u64)> = target
            .wait()
            .lines()
            .map(|line| {
                let (name, address) = line.split_once(' ').expect("a name and an address");
                (name.to_owned(), address.parse().expect("an address"))
            })
            .collect();
        check(python, &profile, &log);
    }
}
