//! Functions with their callers and callees.

use super::super::columns::{Align, pad, percent};
use super::units::unit;
use super::{Names, fit, more, place};
use crate::profile::Measure;
use crate::report::{Calls, Edge};

/// Callers of those that `wants_callers`, and callees; shares are those of the function's total.
pub fn calls(
    all: &[Calls],
    measure: &Measure,
    wants: impl Fn(&Calls) -> (bool, bool),
    limit: usize,
    width: usize,
) -> String {
    let mut text = String::new();
    let shown = &all[..all.len().min(limit)];
    for calls in shown {
        let unit = unit(&measure.weight.unit, calls.function.total.weight_ns);
        let (own, total) = (calls.function.own.weight_ns, calls.function.total.weight_ns);
        if !text.is_empty() {
            text.push('\n');
        }
        let place = place(&calls.function.file, calls.function.line);
        let names = Names::fit([(calls.function.name.as_str(), place.clone())].into_iter(), width, 0);
        text.push_str(&fit(&names.show(&calls.function.name, &place), width));
        let sums = format!("total {}, own {}", unit.with_name(total), unit.with_name(own));
        text.push_str(&fit(&format!("  {sums} ({} %)", percent(own, total)), width));
        let mut edges = |title: &str, edges: &[Edge], nobody: &str| {
            text.push_str(&fit(&format!("  {title}"), width));
            let shown = &edges[..edges.len().min(limit)];
            let numbers: Vec<String> =
                shown.iter().map(|edge| unit.with_name(edge.total.weight_ns)).collect();
            let number_width = numbers.iter().map(String::len).max().unwrap_or(0);
            let name_of =
                |edge: &Edge| if edge.name.is_empty() { nobody.to_owned() } else { edge.name.clone() };
            let list: Vec<String> = shown.iter().map(name_of).collect();
            let used = 4 + number_width + 2 + 5 + 4;
            let names = Names::fit(
                shown.iter().zip(&list).map(|(edge, name)| (name.as_str(), edge.file.clone())),
                width,
                used,
            );
            for ((edge, number), name) in shown.iter().zip(&numbers).zip(&list) {
                let number = pad(number, number_width, Align::Right);
                let share = pad(&percent(edge.total.weight_ns, total), 5, Align::Right);
                let row = format!("    {number}  {share} %  {}", names.show(name, &edge.file));
                text.push_str(&fit(&row, width));
            }
            text.push_str(&more(edges.len() - shown.len(), width));
        };
        let (callers, callees) = wants(calls);
        if callers {
            edges("called by", &calls.callers, "(nothing: it is the outermost)");
        }
        if callees {
            edges("calls", &calls.callees, "");
        }
    }
    text + &more(all.len() - shown.len(), width)
}
