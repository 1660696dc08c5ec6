//! The page's policy, and what a flame graph is made of; `tests/` has a browser draw it.

use super::fold::Node;
use super::*;
use crate::profile::{Context, ProcessMeta};
use pyunwind::Outcome;
use std::process::{Command, Stdio};

/// By a program that is on every machine, so that the hash is not our own idea.
fn sha256_base64(text: &str) -> String {
    let run = |program: &str, arguments: &[&str], input: &[u8]| {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program}");
        output.stdout
    };
    let hex = run("sha256sum", &[], text.as_bytes());
    let digit = |at: usize| (hex[at] as char).to_digit(16).unwrap() as u8;
    let bytes: Vec<u8> = (0..32).map(|at| 16 * digit(2 * at) + digit(2 * at + 1)).collect();
    String::from_utf8(run("base64", &["-w0"], &bytes)).unwrap()
}

#[test]
fn the_policy_allows_this_script_and_this_style() {
    assert_eq!(SCRIPT_HASH, sha256_base64(SCRIPT), "SCRIPT_HASH");
    assert_eq!(STYLE_HASH, sha256_base64(STYLE), "STYLE_HASH");
}

fn profile(pid: u32, stacks: &[(&[&str], u64)]) -> Profile {
    let mut profile = Profile::new(ProcessMeta { pid, name: format!("app{pid}"), ..ProcessMeta::default() });
    let thread = profile.thread(pid, 1);
    for (stack, weight_ns) in stacks {
        let locations: Vec<LocationId> = stack
            .iter()
            .rev()
            .map(|name| {
                let function = profile.function(name, "/f.py", 1);
                profile.location(function, 2, 0)
            })
            .collect();
        let stack = profile.stack(&locations);
        profile.add_in(thread, stack, Context::default(), Outcome::Complete, *weight_ns);
    }
    profile
}

fn render(profiles: &[&Profile]) -> (String, serde_json::Value) {
    let mut bytes = Vec::new();
    encode(profiles, &CaptureMeta::default(), &mut bytes).unwrap();
    let page = String::from_utf8(bytes).unwrap();
    let begin = page.find("id=\"data\">").unwrap() + 10;
    let data = page[begin..].split("</script>").next().unwrap();
    let json = serde_json::from_str(data).unwrap();
    (page, json)
}

#[test]
fn a_hostile_name_ends_neither_the_data_nor_the_title() {
    let name = "</script><script>alert(1)</script><!--";
    let mut hostile = profile(7, &[(&["main", name], 5)]);
    hostile.process_mut().name = name.into();
    let thread = hostile.thread(7, 1);
    hostile.name_thread(thread, name);
    let (page, json) = render(&[&hostile]);
    let (plain, _) = render(&[&profile(7, &[(&["main"], 5)])]);
    let count = |page: &str, what: &str| page.matches(what).count();
    for what in ["<script", "</script", "<!--", "alert(1)</"] {
        assert_eq!(count(&page, what), count(&plain, what), "{what}");
    }
    assert!(json["strings"].as_array().unwrap().iter().any(|text| text == name));
}

/// Sums by path, as the page makes them.
fn sums(folded: &Folded, profiles: &[&Profile]) -> Vec<(String, u64)> {
    let name = |node: &Node| match node.location {
        None => FOLDED.to_owned(),
        Some(location) => {
            let profile = profiles[node.profile as usize];
            let function = profile.locations()[location.index()].function;
            profile.string(profile.functions()[function.index()].name).to_owned()
        }
    };
    let mut sums: Vec<(String, u64)> = Vec::new();
    for entry in &folded.entries {
        let (mut at, mut path) = (entry.node, Vec::new());
        while at != 0 {
            let node = &folded.nodes[at as usize - 1];
            assert!(node.caller < at, "callers come first");
            path.push(name(node));
            at = node.caller;
        }
        path.reverse();
        sums.push((path.join(";"), entry.total.weight_ns));
    }
    sums.sort();
    sums
}

#[test]
fn light_stacks_are_folded_and_nothing_is_lost() {
    let one = profile(
        1,
        &[
            (&["a", "b"], 50),
            (&["a", "c"], 30),
            (&["a"], 5),
            (&["d", "d2", "d3"], 10),
            (&["a", "e", "f", "g"], 5),
        ],
    );
    let two = profile(2, &[(&["x", "y"], 40), (&["x", "z"], 1)]);
    let profiles = [&one, &two];
    let heavy = [("a;b", 50), ("a;c", 30), ("x;y", 40)];
    type Rows<'a> = &'a [(&'a str, u64)];
    let rows: [(usize, usize, u64, u64, Rows<'_>); 3] = [
        (12, 7, 0, 0, &[("a", 5), ("a;e;f;g", 5), ("d;d2;d3", 10), ("x;z", 1)]),
        (5, 7, 2, 15, &[("a", 5), ("a;<folded away>;g", 5), ("<folded away>;d3", 10), ("x;z", 1)]),
        (
            12,
            3,
            4,
            21,
            &[
                ("<folded away>;a", 5),
                ("<folded away>;g", 5),
                ("<folded away>;d3", 10),
                ("<folded away>;z", 1),
            ],
        ),
    ];
    for (nodes, entries, stacks, weight, light) in rows {
        let folded = fold(&profiles, nodes, entries);
        assert_eq!((folded.stacks, folded.weight), (stacks, weight), "{nodes} {entries}");
        let mut expected: Vec<(String, u64)> =
            heavy.iter().chain(light).map(|(path, weight)| (path.to_string(), *weight)).collect();
        expected.sort();
        assert_eq!(sums(&folded, &profiles), expected, "{nodes} {entries}");
    }
    // Ties at the edge: as many as there is room for, and what ran.
    let names: Vec<[String; 3]> =
        (0..100).map(|number| ["f", "g", "h"].map(|name| format!("{name}{number}"))).collect();
    let equal: Vec<[&str; 3]> = names.iter().map(|names| names.each_ref().map(String::as_str)).collect();
    let stacks: Vec<(&[&str], u64)> = equal.iter().map(|stack| (stack.as_slice(), 1)).collect();
    let flat = profile(3, &stacks);
    let folded = fold(&[&flat], 10, 1000);
    // Three whole stacks, f3 and below it two, and all others below one.
    assert_eq!((folded.nodes.len(), folded.stacks), (9 + 3 + 1 + 96, 97));
}
