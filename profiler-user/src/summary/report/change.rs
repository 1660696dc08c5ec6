//! What grew between two captures.

use super::super::columns::{Align, pad};
use super::units::unit;
use super::{Names, fit, more, place};
use crate::profile::Measure;
use crate::report::{Change, Scale};
use unicode_width::UnicodeWidthStr;

/// At most `limit` rows; `all`: the sums of both captures, as they are.
pub fn changes(
    changes: &[Change],
    measure: &Measure,
    scale: Scale,
    all: (u64, u64),
    limit: usize,
    width: usize,
) -> String {
    let shown = &changes[..changes.len().min(limit)];
    let values =
        |change: &Change| [change.own_before, change.own_after, change.total_before, change.total_after];
    let largest = shown.iter().flat_map(values).max().unwrap_or(0);
    let unit = unit(&measure.weight.unit, largest.unsigned_abs());
    let seconds = |ns: u64| format!("{:.1} s", ns as f64 / 1e9);
    let how = match scale {
        Scale::Duration { before_ns, after_ns } if before_ns != after_ns => format!(
            "before is scaled from {} to the {} of after (--absolute: not)",
            seconds(before_ns),
            seconds(after_ns)
        ),
        Scale::Duration { after_ns, .. } => format!("both took {}", seconds(after_ns)),
        Scale::Absolute => "absolute sums, however long each took".to_owned(),
        Scale::Unknown => "absolute sums: a file does not say how long it took".to_owned(),
    };
    let of_all = super::units::unit(&measure.weight.unit, all.0.max(all.1));
    let mut text = fit(&format!("Change of {}; {how}", crate::escape::escape(&measure.weight.name)), width);
    let (before, after) = (of_all.with_name(all.0), of_all.with_name(all.1));
    text.push_str(&fit(&format!("All: before {before}, after {after}"), width));
    let heads = [unit.head("OWN BEFORE"), "AFTER".into(), "CHANGE".into(), "TOTAL CHANGE".into()];
    let cells = |change: &Change| {
        let plain = |value: i64| unit.number(value.unsigned_abs());
        let [own, total] = [change.own(), change.total()].map(|value| unit.signed(value));
        [plain(change.own_before), plain(change.own_after), own, total]
    };
    let rows: Vec<[String; 4]> = shown.iter().map(cells).collect();
    let mut widths = heads.each_ref().map(|head| head.width());
    for cells in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.width());
        }
    }
    let used = widths.iter().map(|width| width + 2).sum();
    let places = shown.iter().map(|it| (it.row.name.as_str(), place(&it.row.file, it.row.line)));
    let names = Names::fit(places, width, used);
    let line = |cells: &[String; 4], name: &str, place: &str| {
        let cells: String =
            cells.iter().zip(&widths).map(|(cell, width)| pad(cell, *width, Align::Right) + "  ").collect();
        fit(&format!("{cells}{}", names.show(name, place)), width)
    };
    text.push_str(&line(&heads, "NAME", ""));
    for (change, cells) in shown.iter().zip(&rows) {
        text.push_str(&line(cells, &change.row.name, &place(&change.row.file, change.row.line)));
    }
    text + &more(changes.len() - shown.len(), width)
}
