//! `go tool pprof`, the reader that everybody has: what it prints of a profile, parsed as little as possible.
//!
//! Names and files may hold blanks, so locations are not taken apart: they are compared as the text that pprof makes of
//! them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

/// Frames as text, leaf first, and labels as `key:[value]`.
pub type Stack = (Vec<String>, Vec<String>);

/// Runs `go tool pprof` on a file.
pub fn pprof(arguments: &[&str], file: &Path) -> String {
    let output = Command::new("go").args(["tool", "pprof"]).args(arguments).arg(file).output();
    let output = output.expect("go tool pprof is needed: apt-get install golang-go");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "go tool pprof {arguments:?} {}: {stderr}", file.display());
    // It would say so if it looked for symbols.
    assert!(!stderr.contains("Main binary filename not available"), "{stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// `-top` in full: flat and cumulative by what stands in the last column.
pub fn top(more: &[&str], file: &Path) -> BTreeMap<String, (u64, u64)> {
    let arguments = [&["-top", "-unit=ns", "-nodefraction=0", "-nodecount=1000000"], more].concat();
    let text = pprof(&arguments, file);
    let (_, table) = text.split_once("cum%\n").expect("a table");
    // `  FLATns  FLAT%  SUM%  CUMns  CUM%  NAME`
    let row = |line: &str| {
        let mut rest = line;
        let columns: Vec<&str> = (0..5)
            .map(|_| {
                let (column, tail) = rest.trim_start().split_once(' ').expect("six columns");
                rest = tail;
                column
            })
            .collect();
        let ns = |column: &str| column.trim_end_matches("ns").parse::<u64>().expect("nanoseconds");
        (rest.trim_start().to_owned(), (ns(columns[0]), ns(columns[3])))
    };
    table.lines().map(row).collect()
}

fn section<'a>(raw: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    let begin = raw.find(&format!("\n{from}\n")).expect("the section") + from.len() + 2;
    let rest = &raw[begin..];
    rest[..rest.find(&format!("\n{to}\n")).expect("its end")].lines().collect()
}

/// `-raw`: what every stack with these labels sums up to. A frame is `0xADDRESS M=1 NAME FILE:LINE s=START()`.
pub fn raw(file: &Path) -> HashMap<Stack, (u64, u64)> {
    let text = pprof(&["-raw"], file);
    let locations: HashMap<&str, &str> = section(&text, "Locations", "Mappings")
        .into_iter()
        .map(|line| line.trim_start().split_once(": ").expect("ID: LOCATION"))
        .collect();
    let mut sums: HashMap<Stack, (u64, u64)> = HashMap::new();
    let mut current: Option<(Stack, (u64, u64))> = None;
    let mut add = |sample: Option<(Stack, (u64, u64))>| {
        if let Some(((frames, mut labels), values)) = sample {
            labels.sort();
            let sum = sums.entry((frames, labels)).or_default();
            *sum = (sum.0 + values.0, sum.1 + values.1);
        }
    };
    // The first line names the types.
    for line in section(&text, "Samples:", "Locations").into_iter().skip(1) {
        let values = line.split_once(": ").or(line.split_once(':')).and_then(|(values, ids)| {
            let values: Option<Vec<u64>> =
                values.split_whitespace().map(|value| value.parse().ok()).collect();
            values.filter(|values| values.len() == 2).map(|values| (values, ids))
        });
        match values {
            Some((values, ids)) => {
                add(current.take());
                let frames = ids.split_whitespace().map(|id| locations[id].to_owned()).collect();
                current = Some(((frames, Vec::new()), (values[0], values[1])));
            }
            None => {
                let labels = line.trim().split_inclusive("] ").map(|label| label.trim().to_owned());
                current.as_mut().expect("a sample before its labels").0.1.extend(labels);
            }
        }
    }
    add(current.take());
    sums
}

/// `-traces -lines`: nanoseconds by stack and labels. A frame is `NAME FILE:LINE`.
pub fn traces(file: &Path) -> HashMap<Stack, u64> {
    let text = pprof(&["-traces", "-lines", "-unit=ns"], file);
    let mut sums: HashMap<Stack, u64> = HashMap::new();
    let is_rule = |line: &str| line.starts_with("-----------+---");
    let lines: Vec<&str> = text.lines().skip_while(|line| !is_rule(line)).collect();
    for trace in lines.split(|line| is_rule(line)).filter(|trace| !trace.is_empty()) {
        let (mut frames, mut labels, mut ns) = (Vec::new(), Vec::new(), None);
        for line in trace {
            // Values stand in 10 columns or as many as they need, three blanks before the frame.
            // Zero has no unit: a tick may come when its thread has hardly begun.
            let value = line.trim_start().split_once("   ").and_then(|(value, frame)| {
                let number = if value == "0" { value } else { value.strip_suffix("ns")? };
                Some((number.parse::<u64>().ok()?, frame))
            });
            match (ns, value) {
                (None, Some((value, frame))) => {
                    ns = Some(value);
                    frames.push(frame.to_owned());
                }
                (None, None) => {
                    let (key, value) = line
                        .trim_start()
                        .split_once(":  ")
                        .unwrap_or_else(|| panic!("no label: {line:?} in {trace:?}"));
                    labels.push(format!("{key}:[{value}]"));
                }
                (Some(_), _) => frames.push(line.trim_start().to_owned()),
            }
        }
        labels.sort();
        *sums.entry((frames, labels)).or_default() += ns.expect("a value");
    }
    sums
}
