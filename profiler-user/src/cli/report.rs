//! `report`: what may be typed, and what it means together.

use super::output::{Output, output};
use super::talk::{TypedTalk, talk};
use super::values;
use crate::encode::Format;
use crate::report::{By, Pattern, ReportOptions, Selection, View, Write};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// About a screen.
const DEFAULT_ROWS: usize = 20;

#[derive(Args, Debug)]
pub(super) struct TypedReport {
    /// Profiles (pprof, compressed or not, of any tool), `-` for standard input, or directories of captures
    #[arg(value_name = "FILE|DIR", required = true)]
    inputs: Vec<PathBuf>,

    /// What to count, by its name, where a file has several values [default: as the file says]
    #[arg(long, value_name = "NAME")]
    sample_type: Option<String>,

    /// What a row stands for
    #[arg(long, value_enum, default_value_t = TypedBy::Function, conflicts_with = "lines")]
    by: TypedBy,

    /// The same as --by line
    #[arg(short, long)]
    lines: bool,

    /// Who calls the functions whose name or file matches
    #[arg(long, value_name = "REGEX", value_parser = Pattern::new)]
    callers: Option<Pattern>,

    /// What the functions call whose name or file matches
    #[arg(long, value_name = "REGEX", value_parser = Pattern::new)]
    callees: Option<Pattern>,

    /// Source lines of the functions whose name or file matches, with their time
    #[arg(long, value_name = "REGEX", value_parser = Pattern::new,
          conflicts_with_all = ["callers", "callees", "by", "lines"])]
    source: Option<Pattern>,

    /// How the second of two captures differs from the first, as if that had lasted as long
    #[arg(long, conflicts_with_all = ["callers", "callees", "source"])]
    diff: bool,

    /// With --diff: sums as they are, however long each capture was
    #[arg(long, requires = "diff")]
    absolute: bool,

    /// Only processes with this pid, or whose name or service matches
    #[arg(long, value_name = "PID|REGEX", value_parser = Pattern::new)]
    process: Option<Pattern>,

    /// Only threads with this id, or whose name matches
    #[arg(long, value_name = "TID|REGEX", value_parser = Pattern::new)]
    thread: Option<Pattern>,

    /// Only stacks in which a function's name or file matches
    #[arg(long, value_name = "REGEX", value_parser = Pattern::new)]
    focus: Option<Pattern>,

    /// No stacks in which a function's name or file matches
    #[arg(long, value_name = "REGEX", value_parser = Pattern::new)]
    ignore: Option<Pattern>,

    /// Write what was read and selected into one file instead of showing it: x.pb.gz, x.html, x.collapsed, x.speedscope.json,
    /// x.firefox.json, or - for standard output
    #[arg(short, long, value_name = "FILE",
          conflicts_with_all = ["callers", "callees", "source", "diff", "by", "lines", "json"])]
    output: Option<PathBuf>,

    /// pprof, flamegraph, collapsed, speedscope or firefox [default: as the ending of --output says; without --output to
    /// standard output]
    #[arg(short, long, value_name = "FORMAT", value_parser = values::format,
          conflicts_with_all = ["callers", "callees", "source", "diff", "by", "lines", "json"])]
    format: Option<Format>,

    /// Rows at most [default: 20; all with --json]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// For programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    talk: TypedTalk,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum TypedBy {
    Function,
    Line,
    File,
    Process,
    Thread,
    /// System call, or GIL, of time off the CPU
    Wait,
}

pub(super) fn report(typed: TypedReport) -> Result<ReportOptions, String> {
    let TypedReport {
        inputs,
        sample_type,
        by,
        lines,
        callers,
        callees,
        source,
        diff,
        absolute,
        process,
        thread,
        focus,
        ignore,
        output: path,
        format,
        limit,
        json,
        talk: typed_talk,
    } = typed;
    let talk = talk(typed_talk);
    let by = match by {
        _ if lines => By::Line,
        TypedBy::Function => By::Function,
        TypedBy::Line => By::Line,
        TypedBy::File => By::File,
        TypedBy::Process => By::Process,
        TypedBy::Thread => By::Thread,
        TypedBy::Wait => By::Wait,
    };
    if let Some(write) = written(path, format)? {
        let select = Selection { process, thread, focus, ignore };
        let limit = usize::MAX;
        return Ok(ReportOptions {
            inputs,
            sample_type,
            view: View::Write(write),
            select,
            limit,
            json,
            talk,
        });
    }
    let view = match (diff, source) {
        (true, _) if inputs.len() != 2 => {
            return Err("--diff takes two files or directories: before and after".into());
        }
        (true, _) => View::Diff { by, absolute },
        (false, Some(source)) => View::Source(source),
        (false, None) if callers.is_some() || callees.is_some() => {
            if by != By::Function {
                return Err("--callers and --callees are about functions".into());
            }
            View::Calls { callers, callees }
        }
        (false, None) => View::Top(by),
    };
    let select = Selection { process, thread, focus, ignore };
    let all = if json { usize::MAX } else { DEFAULT_ROWS };
    let limit = limit.map_or(all, |limit| limit as usize);
    Ok(ReportOptions { inputs, sample_type, view, select, limit, json, talk })
}

/// Where a file goes, and as what; a format alone goes to standard output.
fn written(path: Option<PathBuf>, format: Option<Format>) -> Result<Option<Write>, String> {
    let path = path.or_else(|| format.map(|_| PathBuf::from("-")));
    let Some(path) = path else { return Ok(None) };
    let (to, formats) = output(Some(path), format.into_iter().collect())?;
    match (to, formats[..].first()) {
        (Output::File(path), Some(&format)) => Ok(Some(Write { path: Some(path), format })),
        (Output::Stdout, Some(&format)) => Ok(Some(Write { path: None, format })),
        _ => {
            let endings: Vec<&str> = Format::ALL.iter().map(|format| format.ending()).collect();
            Err(format!("--output: a report is one file, which ends in one of {}", endings.join(", ")))
        }
    }
}
