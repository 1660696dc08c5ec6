//! Values of variables, held against `repr` and `type` of the target's own.

use pyprof_tests::dump::{LOCALS, dump, dumped, telling};
use pyprof_tests::pythons;
use serde_json::Value;

#[test]
fn values_are_what_repr_says_and_nothing_is_told_of_other_classes() {
    for python in pythons() {
        let (target, told) = telling(&python, LOCALS, &[]);
        let pid = target.pid().to_string();
        let process = dumped(&["--json", "--locals", "-p", &pid]);
        let frames = process["threads"][0]["stacks"][0]["frames"].as_array().expect("frames");
        let locals = frames[0]["locals"].as_array().expect("locals");
        let one = |name: &str| -> &Value {
            let found = locals.iter().find(|local| local["name"] == name);
            found.unwrap_or_else(|| panic!("{python}: {name} is missing in {locals:?}"))
        };
        let exactly = told["exactly"].as_object().expect("values");
        assert!(exactly.len() > 30, "{exactly:?}");
        for (name, value) in exactly {
            assert_eq!(one(name)["value"], *value, "{python}: {name}");
        }
        for (name, kind) in told["types"].as_object().expect("types") {
            assert_eq!(one(name)["type"], *kind, "{python}: {name}");
        }
        // (name, how it begins, how it ends)
        let rows = [
            ("plain", "<Plain at 0x", ">"),
            ("string", "<Text at 0x", ">"),
            ("ordered", "<OrderedDict at 0x", ">"),
            ("group", "<set of 2 at 0x", ">"),
            ("array", "<bytearray at 0x", ">"),
            ("closure", "<function at 0x", ">"),
            ("class_", "<class 'Plain'>", ""),
            ("huge", "<int of some 40", " bits>"),
            ("long_text", "'xxxxxxxx", "\u{2026} (5000)"),
            ("long_list", "[0, 1, 2, 3, \u{2026} 5000]", ""),
            ("recursive", "[[[\u{2026} 1]]]", ""),
        ];
        for (name, begin, end) in rows {
            let value = one(name)["value"].as_str().expect("text");
            assert!(value.starts_with(begin) && value.ends_with(end), "{python}: {name} = {value}");
            assert!(value.chars().count() < 100, "{python}: {name} = {value}");
        }
        let printed = String::from_utf8(dump(&["--locals", "-p", &pid]).stdout).expect("text");
        assert!(printed.contains("        quoted = \"it's\"\n"), "{python}: {printed}");
        // Off by default.
        for arguments in [&["-p", &pid][..], &["--json", "-p", &pid]] {
            let printed = String::from_utf8(dump(arguments).stdout).expect("text");
            assert!(printed.contains("stand") && !printed.contains("argument"), "{python}: {printed}");
        }
    }
}
