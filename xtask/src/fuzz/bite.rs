//! Is each target a fuzzer? A bound is taken out of a copy of the sources, and the target has a minute to find that, from its
//! seeds alone.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::build::Build;
use super::run::Run;
use super::targets::Target;
use crate::bite::plant::{Place, copy_sources};
use crate::util::Workspace;

/// A bound, without which `target` must find something.
struct Missing {
    target: &'static str,
    place: Place,
}

const fn missing(
    target: &'static str,
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> Missing {
    Missing { target, place: Place { name, file, from, to } }
}

const BOUNDS: [Missing; 14] = [
    missing(
        "unwind",
        "a stack ends where the room for frames does",
        "pyunwind/src/step.rs",
        "if !check.phantom && !sink.push(code, check, index) {",
        "if !check.phantom && !sink.push(code, check, index) && !index.is_positive() {",
    ),
    missing(
        "thread_names",
        "all questions to a process together have a bound",
        "pyunwind/src/host/bounded.rs",
        "self.reads = self.reads.checked_sub(1).ok_or(Fault)?;",
        "self.reads = self.reads.wrapping_sub(1);",
    ),
    missing(
        "code_object",
        "no more is read of a name than its cap",
        "pyunwind/src/host/code_object.rs",
        "chars.min(MAX_CHARS) * u64::from(shape.kind)",
        "chars.saturating_mul(u64::from(shape.kind))",
    ),
    missing(
        "strings",
        "a string has no more characters than it says",
        "pyunwind/src/host/strings.rs",
        "bytes.chunks_exact(width).take(wanted)",
        "bytes.chunks_exact(width)",
    ),
    missing(
        "lines",
        "a varint has six bytes at most",
        "pyunwind/src/host/lines.rs",
        "bytes.iter().take(6).zip(",
        "bytes.iter().zip(",
    ),
    missing(
        "debug_offsets",
        "the fields of a structure lie close together",
        "pyunwind/src/host/debug_offsets/mod.rs",
        "    if bytes > max {\n",
        "    if bytes > max && max == 0 {\n",
    ),
    missing(
        "elf",
        "a chain of symbols ends",
        "profiler-user/src/process/symbols.rs",
        "for _ in 0..MAX_CHAIN {\n        if index == 0 {",
        "for _ in 0..u32::MAX {\n        if index == 0 {",
    ),
    missing(
        "core",
        "all notes together have a number",
        "profiler-user/src/process/core.rs",
        "            *left -= 1;\n",
        "            *left -= usize::from(offset == 0);\n",
    ),
    missing(
        "maps",
        "no more lines are looked at than a process has mappings",
        "profiler-user/src/process/maps.rs",
        ".take(MAX_LINES).filter_map(parse)",
        ".take(16 * MAX_LINES).filter_map(parse)",
    ),
    missing(
        "cgroup",
        "labels have a length",
        "profiler-user/src/process/cgroup.rs",
        "text.chars().take(MAX_LABEL_CHARS).collect()",
        "text.chars().collect()",
    ),
    missing(
        "environ",
        "no more is read of an environment than its cap",
        "profiler-user/src/process/environ.rs",
        "from.take(MAX_ENVIRON_BYTES as u64)",
        "from.take(MAX_ENVIRON_BYTES as u64 * 4)",
    ),
    missing(
        "rings",
        "a record is no longer than what came",
        "profiler-user/src/bpf/rings.rs",
        "head.version != VERSION || head.bytes as usize > bytes.len()",
        "head.version != VERSION",
    ),
    missing(
        "mappings",
        "a record is as long as its header at least",
        "profiler-user/src/bpf/mappings.rs",
        "(8..=MAX_RECORD_BYTES).contains(&size)",
        "(0..=MAX_RECORD_BYTES).contains(&size)",
    ),
    missing(
        "pprof",
        "all stacks together have no more frames than a file of that size may hold",
        "profiler-user/src/decode/pprof_samples.rs",
        "frames_left.checked_sub(frames.len().max(1))",
        "frames_left.checked_sub(usize::from(frames.is_empty()))",
    ),
];

pub(super) fn bite(workspace: &Workspace, targets: &[&Target], time: Duration) -> Result<()> {
    let base = workspace.target_dir.join("fuzz/bite");
    let tree = base.join("tree");
    copy_sources(workspace, &tree)?;
    // Where sound targets are built, too: what they are made of beside our own sources is the same.
    let build = Build::prepare(tree.clone(), workspace.target_dir.join("fuzz/build"))?;
    let (mut tried, mut missed) = (0, Vec::new());
    for target in targets {
        let mut bounds = BOUNDS.iter().filter(|bound| bound.target == target.name).peekable();
        if bounds.peek().is_none() {
            bail!("{}: there is no bound to take out", target.name);
        }
        for Missing { place, .. } in bounds {
            tried += 1;
            let run_base = base.join("run");
            if run_base.exists() {
                fs::remove_dir_all(&run_base).context("failed to clear an earlier run")?;
            }
            let report = place.spoilt(&tree, || {
                build.targets(&[*target])?;
                Run::lasting(&run_base, target)?.fuzz(&build, time)
            })?;
            match report.finding {
                Some(_) => println!("found   {:<14} {:>3} s  {}", target.name, report.seconds, place.name),
                None => {
                    println!("MISSED  {:<14} {:>3} s  {}", target.name, report.seconds, place.name);
                    missed.push(place.name);
                }
            }
        }
    }
    if !missed.is_empty() {
        bail!("{} of {tried} missing bounds were not found: {}", missed.len(), missed.join(", "));
    }
    println!("all {tried} missing bounds were found");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::targets::TARGETS;
    use super::*;
    use crate::bite::plant::expect_once;

    #[test]
    fn every_target_has_a_bound_and_every_bound_exactly_one_place() {
        expect_once(BOUNDS.iter().map(|bound| bound.place));
        for target in &TARGETS {
            assert!(BOUNDS.iter().any(|bound| bound.target == target.name), "{}", target.name);
        }
    }
}
