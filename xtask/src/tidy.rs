//! `cargo xtask tidy`: the invariants of docs/architecture.md, checked over the sources, so that they stay
//! true.

mod rules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::util::Workspace;
use rules::{BANS, Ban, REQUIRED, SHAPES};
use source::Source;

/// A place that breaks a rule; `line` counts from 1.
#[derive(Debug, PartialEq)]
struct Finding {
    line: usize,
    why: &'static str,
}

pub(crate) fn command() -> Result<()> {
    let workspace = Workspace::find()?;
    let mut files = Vec::new();
    walk(&workspace.root, &workspace, &mut files)?;
    files.sort();

    let (mut checked, mut broken) = (0, 0);
    for file in &files {
        // What is not text has no rule.
        let Ok(text) = fs::read_to_string(file) else { continue };
        let path = file.strip_prefix(&workspace.root).unwrap_or(file).to_string_lossy();
        checked += 1;
        for Finding { line, why } in check_file(&path, &text) {
            broken += 1;
            println!("{path}:{line}: {why}");
        }
    }
    for (path, _) in REQUIRED {
        if !workspace.root.join(path).exists() {
            broken += 1;
            println!("{path}:1: is missing, and a rule is about it");
        }
    }
    if broken > 0 {
        bail!("tidy: {broken} findings in {checked} files");
    }
    println!("tidy: {checked} files, no findings");
    Ok(())
}

/// Every source and paper; not what is built, hidden or captured. Symlinks are not followed.
fn walk(dir: &Path, workspace: &Workspace, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        // As .gitignore has it: what was built, and captures that went to their default place.
        let skipped = path == workspace.target_dir
            || ["target", "dist"].contains(&name.as_str())
            || name.starts_with("pyprof-");
        let kind = entry.file_type()?;
        if kind.is_dir() && !skipped && (!name.starts_with('.') || name == ".ci") {
            walk(&path, workspace, files)?;
        } else if kind.is_file() && is_ours(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    let kind = path.extension().unwrap_or_default().to_string_lossy();
    ["rs", "md", "py", "toml", "json"].contains(&&*kind) || path.ends_with(".ci/run")
}

/// All rules over one file; the path is relative to the workspace.
fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let source = Source::parse(path, text);
    let mut findings: Vec<Finding> = BANS.iter().flat_map(|ban| check_ban(ban, &source)).collect();
    findings.extend(REQUIRED.iter().filter(|(of, _)| *of == path).flat_map(|(_, lines)| {
        let missing = lines.iter().any(|line| !source.lines().any(|own| own.code.contains(line)));
        missing.then_some(Finding { line: 1, why: "must keep its #![no_std] and #![forbid(unsafe_code)]" })
    }));
    if path.ends_with(".rs") {
        findings.extend(
            SHAPES
                .iter()
                .flat_map(|(shape, why)| shape(&source).into_iter().map(|line| Finding { line, why })),
        );
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

fn check_ban(ban: &Ban, source: &Source) -> Vec<Finding> {
    let is_in = |places: &[&str]| places.iter().any(|place| source.path.starts_with(place));
    if !is_in(ban.under) || is_in(ban.except) {
        return Vec::new();
    }
    let lines = source.lines().filter(|line| !(ban.except_tests && line.is_test));
    let hits = lines.filter(|line| ban.names.iter().any(|name| name.is_in(line)));
    hits.map(|line| Finding { line: line.number, why: ban.why }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `text`, as a file at `path`, that `tidy` complains about.
    fn check(path: &str, text: &str, expected: &[usize]) {
        let lines: Vec<usize> = check_file(path, text).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, expected, "{path}:\n{text}");
    }

    #[test]
    fn every_rule_bites_on_a_planted_line_and_spares_the_allowed_place() {
        let rows: &[(&str, &str, &[usize])] = &[
            ("profiler-user/src/pipeline.rs", "use aya::Ebpf;", &[2]),
            ("profiler-user/src/pipeline.rs", "let x = aya_log::EbpfLogger::init();", &[2]),
            ("profiler-user/src/pipeline.rs", "let aya_like = \"aya\"; // aya", &[]),
            ("profiler-user/src/bpf/load.rs", "use aya::Ebpf;", &[]),
            ("profiler-user/src/bpf.rs", "use aya::Ebpf;", &[]),
            ("profiler-user/src/main.rs", "use clap::Parser;", &[2]),
            ("profiler-user/src/cli/args.rs", "use clap::Parser;", &[]),
            ("profiler-user/src/encode/collapsed.rs", "use prost::Message;", &[2]),
            ("profiler-user/src/encode/pprof.rs", "use prost::Message;", &[]),
            ("profiler-user/src/encode/pprof_schema.rs", "use prost::Message;", &[]),
            ("profiler-user/src/decode/pprof_tables.rs", "use prost::Message;", &[]),
            ("profiler-user/src/decode/wire.rs", "use prost::Message;", &[2]),
            ("profiler-user/src/decode/pprof.rs", "let file = std::fs::read(path);", &[2]),
            ("profiler-user/src/decode/pprof.rs", "use crate::process::Key;", &[2]),
            ("profiler-user/src/symbols.rs", "File::open(\"/proc/self/maps\")", &[2]),
            ("profiler-user/src/symbols.rs", "// reads /proc/self/maps", &[]),
            ("profiler-user/src/symbols.rs", "use procfs::process::Process;", &[2]),
            ("profiler-user/src/process/scan.rs", "File::open(\"/proc/self/maps\")", &[]),
            ("profiler-user/src/encode/pprof.rs", "use crate::process::Key;", &[2]),
            (
                "profiler-user/src/encode/pprof.rs",
                "use crate::{\n    profile::Profile,\n    process::Key,\n};",
                &[4],
            ),
            ("profiler-user/src/encode/pprof.rs", "let k = crate::process::key();", &[2]),
            ("profiler-user/src/encode/pprof.rs", "use std::process::exit;", &[]),
            ("profiler-user/src/record.rs", "use crate::process::Key;", &[]),
            ("profiler-user/src/pipeline/late.rs", "use crate::process::Key;", &[2]),
            ("profiler-user/src/pipeline/late.rs", "let seen = inspect(pid);", &[2]),
            ("profiler-user/src/record/session.rs", "if scan::exists(pid) {}", &[2]),
            ("profiler-user/src/record/session.rs", "ProcessMemory::new(1)", &[2]),
            ("profiler-user/src/reader/mod.rs", "ProcessMemory::new(1)", &[2]),
            ("profiler-user/src/reader/serve.rs", "ProcessMemory::new(1)", &[]),
            ("profiler-user/src/reader/mod.rs", "format!(\"/x/map_files\")", &[2]),
            ("profiler-user/src/sink/file.rs", "use crate::profile::Profile;", &[2]),
            ("profiler-user/src/sink/file.rs", "use crate::outcome::Outcome;", &[]),
            ("pyunwind/src/step.rs", "use std::vec::Vec;", &[2]),
            ("pyunwind/src/step.rs", "use aya_ebpf::helpers;", &[2]),
            ("pyunwind/src/step.rs", "#[cfg(test)]\nmod tests {\n    use std::vec::Vec;\n}", &[]),
            ("pyunwind/src/step.rs", "#[cfg(test)]\nextern crate std;\nuse std::vec::Vec;", &[4]),
            ("pyunwind/tests/live.rs", "use std::vec::Vec;", &[]),
            ("pyunwind/src/step_tests.rs", "use std::vec::Vec;", &[]),
            ("profiler-ebpf/src/main.rs", "const NAME: &str = \"3.11\";", &[2]),
            ("profiler-ebpf/src/main.rs", "// as of 3.11", &[]),
            ("profiler-ebpf/src/main.rs", "let v = x.3.0; let y = 13.5;", &[2]),
            ("tests/tests/live.rs", "todo!()", &[2]),
            ("tests/benches/live.rs", "let place = std::env::temp_dir();", &[2]),
            ("tests/src/lib.rs", "let place = std::env::temp_dir();", &[]),
            ("tests/tests/live.rs", "unimplemented!(\"later\")", &[2]),
            ("tests/tests/live.rs", "#[ignore = \"flaky\"]", &[2]),
            ("tests/tests/live.rs", "let s = \"todo!()\";", &[]),
            ("profiler-user/src/main.rs", "fn f() { unsafe { g() } }", &[2]),
            ("profiler-user/src/main.rs", "unsafe impl Send for S {}", &[2]),
            ("profiler-user/src/main.rs", "// SAFETY: g takes nothing.\nfn f() { unsafe { g() } }", &[]),
            ("profiler-user/src/main.rs", "// SAFETY: far\n\n\n\n\nfn f() { unsafe { g() } }", &[7]),
            ("profiler-user/src/main.rs", "// SAFETY: a\n// b\n// c\n// d\n// e\n// f\nunsafe { g() }", &[]),
            ("profiler-user/src/main.rs", "unsafe extern \"C\" fn f() {}", &[]),
            ("docs/architecture.md", "see /root/notes", &[2]),
            ("pyunwind/src/step.rs", "// see /root/notes", &[2]),
        ];
        for (path, planted, expected) in rows {
            check(path, &format!("//! Why.\n{planted}\n"), expected);
        }
    }

    #[test]
    fn every_file_says_why_it_exists_and_stays_readable() {
        check("tests/src/lib.rs", "fn main() {}\n", &[1]);
        check("tests/src/lib.rs", "", &[1]);
        check("tests/src/lib.rs", "#![no_main]\n\n//! Why.\n", &[]);
        check("tests/src/lib.rs", "#!/usr/bin/env run\n//! Why.\n", &[]);
        check("tests/src/lib.rs", &("//! Why.\n".to_owned() + &"\n".repeat(799)), &[]);
        check("tests/src/lib.rs", &("//! Why.\n".to_owned() + &"\n".repeat(800)), &[801]);
        check("docs/long.md", &"\n".repeat(900), &[]);
    }

    #[test]
    fn pyunwind_keeps_its_promises() {
        let head = "//! Why.\n#![no_std]\n#![forbid(unsafe_code)]\n";
        check("pyunwind/src/lib.rs", head, &[]);
        check("pyunwind/src/lib.rs", "//! Why.\n#![no_std]\n", &[1]);
        check("pyunwind/src/lib.rs", "//! Why.\n#![forbid(unsafe_code)]\n// no_std\n", &[1]);
    }
}
