//! `doctor` on this host and on worse ones: what it says is held against the kernel's own files and the interpreters
//! themselves, and it ends well without any privilege.

mod pythons;
mod worse;

use std::process::{Command, Stdio};

use pyprof_tests::capture;
use serde_json::Value;

/// What a run said.
struct Said {
    code: Option<i32>,
    json: Value,
    stderr: String,
}

impl Said {
    /// Runs `doctor --json` by this command, which ends where the program's name is.
    fn by(command: &mut Command) -> Said {
        let ran = command.args(["doctor", "--json"]).stdin(Stdio::null()).output().expect("it runs");
        let stderr = String::from_utf8(ran.stderr).expect("text");
        let json = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        Said { code: ran.status.code(), json, stderr }
    }

    fn here() -> Said {
        Said::by(&mut Command::new(capture::binary()))
    }

    fn finding(&self, about: &str) -> &Value {
        let findings = self.json["findings"].as_array().expect("a list");
        findings
            .iter()
            .find(|finding| finding["about"] == about)
            .unwrap_or_else(|| panic!("nothing about {about}"))
    }

    fn what(&self, about: &str) -> &str {
        self.finding(about)["what"].as_str().expect("text")
    }

    fn level(&self, about: &str) -> &str {
        self.finding(about)["level"].as_str().expect("text")
    }

    fn problems(&self) -> Vec<&str> {
        let findings = self.json["findings"].as_array().expect("a list");
        let bad = findings.iter().filter(|finding| finding["level"] == "problem");
        bad.map(|finding| finding["about"].as_str().expect("text")).collect()
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

#[test]
fn this_host_is_in_order_and_what_is_said_of_it_is_what_the_kernel_says() {
    let said = Said::here();
    assert_eq!((said.code, said.problems()), (Some(0), vec![]), "{}", said.stderr);
    assert_eq!(said.json["kernel"], read("/proc/sys/kernel/osrelease"));
    assert!(said.what("kernel").contains(&read("/proc/sys/kernel/osrelease")));
    for (about, file) in [
        ("perf_event_paranoid", "kernel/perf_event_paranoid"),
        ("perf_event_max_sample_rate", "kernel/perf_event_max_sample_rate"),
        ("perf_cpu_time_max_percent", "kernel/perf_cpu_time_max_percent"),
        ("unprivileged_bpf_disabled", "kernel/unprivileged_bpf_disabled"),
        ("bpf_jit_enable", "net/core/bpf_jit_enable"),
    ] {
        let value = read(&format!("/proc/sys/{file}"));
        let what = said.what(about);
        let number: String = what.chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(number, value, "{about}: {what}");
    }
    let clock = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    assert!(said.what("clock").starts_with(&clock), "{}", said.what("clock"));
    for about in ["perf event", "bpf(2)", "programs", "ticks and ring", "detach"] {
        assert_eq!(said.level(about), "ok", "{about}: {}", said.what(about));
    }
}

#[test]
fn nothing_stays_behind_in_the_kernel() {
    // Ids only grow, so what is new is ours (nothing else loads programs while tests run).
    let before = in_kernel();
    let said = Said::here();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    // They are freed after a grace period of RCU.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while in_kernel().iter().any(|id| !before.contains(id)) {
        assert!(std::time::Instant::now() < deadline, "programs are still there: {:?}", in_kernel());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Ids of the programs in the kernel (`BPF_PROG_GET_NEXT_ID`, `kernel/bpf/syscall.c`).
fn in_kernel() -> Vec<u32> {
    const PROG_GET_NEXT_ID: libc::c_int = 11;
    let mut ids = Vec::new();
    let mut attributes = [0u32; 4];
    loop {
        attributes[1] = 0;
        // SAFETY: a valid pointer to as many bytes as it says.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                PROG_GET_NEXT_ID,
                attributes.as_mut_ptr(),
                size_of_val(&attributes) as u32,
            )
        };
        if done != 0 {
            return ids;
        }
        ids.push(attributes[1]);
        attributes[0] = attributes[1];
    }
}

#[test]
fn text_for_people_has_a_line_for_each_finding_and_a_verdict() {
    let said = Said::here();
    let ran = Command::new(capture::binary()).arg("doctor").output().expect("it runs");
    let text = String::from_utf8(ran.stdout).expect("text");
    for finding in said.json["findings"].as_array().expect("a list") {
        let about = finding["about"].as_str().expect("text");
        let level = finding["level"].as_str().expect("text");
        let found = text
            .lines()
            .any(|line| line.starts_with(level) && line[level.len()..].trim_start().starts_with(about));
        assert!(found, "{level} {about} is missing in\n{text}");
    }
    assert!(text.contains("A capture can begin here: no problems, "), "{text}");
    assert_eq!(String::from_utf8(ran.stderr).expect("text"), "");
}
