//! Threads that stand in known places: every function, file and line, every name, on every interpreter.

use pyprof_tests::dump::{PARKED, check, dump, dumped, telling};
use pyprof_tests::pythons;
use serde_json::Value;

#[test]
fn every_frame_of_every_thread_is_what_the_interpreter_says() {
    for python in pythons() {
        let (target, told) = telling(&python, PARKED, &[]);
        let pid = target.pid().to_string();
        let process = dumped(&["--json", "-p", &pid]);
        check(&python.to_string(), &told, &process, true);
        assert_eq!(process["python_version"], python.version.as_str());
        // The other way round, and as text.
        let reversed = dumped(&["--json", "--root-first", "-p", &pid]);
        let frames = |process: &Value| -> Vec<Value> {
            let threads = process["threads"].as_array().expect("threads");
            threads
                .iter()
                .flat_map(|thread| thread["stacks"].as_array().expect("stacks"))
                .map(|stack| stack["frames"].clone())
                .collect()
        };
        let mut back = frames(&reversed);
        back.iter_mut().for_each(|stack| stack.as_array_mut().expect("frames").reverse());
        assert_eq!(frames(&process), back, "{python}");
        let text = String::from_utf8(dump(&["-p", &pid]).stdout).expect("text");
        assert!(!text.bytes().any(|byte| byte == 0x1b), "{python}: {text}");
        let file = target.script().display().to_string();
        for line in ["in_sleep \u{43d}\\x1b[31m\"", &format!("    in_sleep ({file}:35)\n"), "    <native>\n"]
        {
            assert!(text.contains(line), "{python}: {line} is missing in {text}");
        }
    }
}
