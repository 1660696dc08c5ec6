//! A report for programs: the same sums, unscaled and unrounded, in the units that the file has.

use super::input::Unread;
use super::{Calls, Change, Edge, Row, Scale, SourceFile};
use crate::profile::{Loss, Total, Unsupported};
use crate::summary::report::Head;
use crate::utc;
use serde_json::{Map, Value, json};

/// Changes when a field changes its meaning.
const SCHEMA: u32 = 1;

/// What every report begins with.
pub(super) fn head(
    head: &Head,
    files: &[String],
    failures: &[Unread],
    unsupported: &Unsupported,
) -> Map<String, Value> {
    let loss = |loss: &Loss| (loss.name.clone(), Value::from(loss.count));
    let value_type = |of: &crate::profile::ValueType| json!({"name": of.name, "unit": of.unit});
    let losses = head.losses.as_ref().map(|losses| losses.iter().map(loss).collect::<Map<_, _>>());
    let failed = |it: &Unread| json!({"file": it.path, "reason": it.why});
    let refused = |it: &crate::profile::UnsupportedProcess| json!({"pid": it.pid, "name": it.name, "reason": it.reason});
    let fields = [
        ("schema", json!(SCHEMA)),
        ("host", json!(head.host)),
        ("start", json!((head.start_unix_ns != 0).then(|| utc::rfc3339(head.start_unix_ns)))),
        ("duration_seconds", json!(head.duration_ns as f64 / 1e9)),
        ("frequency_hz", json!(head.frequency_hz)),
        ("files", json!(files)),
        ("failures", failures.iter().map(failed).collect()),
        ("count", value_type(&head.measure.count)),
        ("weight", value_type(&head.measure.weight)),
        ("all", total(head.all)),
        ("selected", total(head.selected)),
        ("losses", json!(losses)),
        ("comments", json!(head.comments)),
        ("unsupported", unsupported.listed.iter().map(refused).collect()),
        ("unsupported_more", json!(unsupported.more)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn total(total: Total) -> Value {
    json!({"count": total.samples, "weight": total.weight_ns})
}

pub(super) fn row(row: &Row) -> Value {
    let Row { name, file, line, pid, tid, own, total: all } = row;
    json!({
        "name": name, "file": file, "line": line, "pid": pid, "tid": tid,
        "own": total(*own), "total": total(*all),
    })
}

fn edge(edge: &Edge) -> Value {
    json!({"name": edge.name, "file": edge.file, "total": total(edge.total)})
}

pub(super) fn calls(calls: &Calls, limit: usize) -> Value {
    let edges = |edges: &[Edge]| -> Value { edges.iter().take(limit).map(edge).collect() };
    json!({
        "function": row(&calls.function), "callers": edges(&calls.callers), "callees": edges(&calls.callees),
    })
}

pub(super) fn source(file: &SourceFile) -> Value {
    let line = |line: &super::SourceLine| json!({"line": line.line, "own": total(line.own), "total": total(line.total), "text": line.text});
    let lines: Value = file.lines.iter().map(line).collect();
    json!({"path": file.path, "missing": file.missing, "own": total(file.own), "lines": lines})
}

pub(super) fn change(change: &Change) -> Value {
    let Change { row, own_before, own_after, total_before, total_after } = change;
    json!({
        "name": row.name, "file": row.file, "line": row.line,
        "own_before": own_before, "own_after": own_after, "own_change": change.own(),
        "total_before": total_before, "total_after": total_after, "total_change": change.total(),
    })
}

pub(super) fn scale(scale: Scale) -> Value {
    match scale {
        Scale::Duration { before_ns, after_ns } => {
            json!({"kind": "duration", "before_ns": before_ns, "after_ns": after_ns})
        }
        Scale::Absolute => json!({"kind": "absolute"}),
        Scale::Unknown => json!({"kind": "absolute, durations unknown"}),
    }
}
