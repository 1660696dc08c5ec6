//! Completions: each shell reads its own, and bash completes words with them.

use std::process::Command;

use pyprof_tests::{Scratch, capture};

use super::{commands, run, text};

fn script(shell: &str) -> String {
    let ran = run(Command::new(capture::binary()).args(["generate", "completions", shell]));
    assert!(ran.status.success() && ran.stderr.is_empty(), "{shell}: {}", text(ran.stderr));
    text(ran.stdout)
}

#[test]
fn each_shell_takes_its_own() {
    let scratch = Scratch::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let file = scratch.path().join(shell);
        std::fs::write(&file, script(shell)).expect("our own file");
        let ran = run(Command::new(shell).arg("-n").arg(&file));
        assert!(ran.status.success() && ran.stderr.is_empty(), "{shell}: {}", text(ran.stderr));
    }
}

/// What bash offers for the last of these words, the way readline asks.
fn bash(words: &[&str]) -> Vec<String> {
    const ASK: &str = r#"
source /dev/fd/3
complete -p pyprof-bpf > /dev/null || exit 9
spec=$(complete -p pyprof-bpf)
[[ $spec =~ -F\ ([^ ]+) ]] || exit 8
COMP_WORDS=(pyprof-bpf "$@")
COMP_CWORD=$#
"${BASH_REMATCH[1]}" pyprof-bpf "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;
    let scratch = Scratch::new("bash");
    let file = scratch.path().join("script");
    std::fs::write(&file, script("bash")).expect("our own file");
    let ask = ASK.replace("/dev/fd/3", &file.display().to_string());
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", &ask, "bash"]).args(words).current_dir(scratch.path());
    let ran = run(&mut command);
    assert!(ran.status.success() && ran.stderr.is_empty(), "{words:?}: {}", text(ran.stderr));
    text(ran.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_words() {
    let has = |words: &[&str], expected: &[&str]| {
        let offered = bash(words);
        for word in expected {
            assert!(offered.iter().any(|offer| offer == word), "{words:?}: {word} is not in {offered:?}");
        }
    };
    has(&["re"], &["record"]);
    has(&["doc"], &["doctor"]);
    has(&["doctor", "--j"], &["--json"]);
    has(&["record", "--m"], &["--merge-by", "--max-cpu", "--max-memory"]);
    has(&["record", "--rat"], &["--rate"]);
    has(&["--dur"], &["--duration"]);
    // The name of a file, where an option takes one.
    has(&["record", "--btf", "scr"], &["script"]);
    // And nothing for what there is not.
    assert_eq!(bash(&["record", "--nonsense"]), [""; 0]);
    let all: Vec<String> = commands();
    has(&[""], &all.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn an_unknown_shell_is_a_usage_error() {
    for arguments in
        [&["generate", "completions"][..], &["generate", "completions", "cmd.exe"], &["generate"]]
    {
        let ran = run(Command::new(capture::binary()).args(arguments));
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {}", text(ran.stderr));
    }
}

#[test]
fn a_reader_that_went_away_is_no_panic() {
    let binary = capture::binary();
    let ran = run(Command::new("bash")
        .args(["-c", "\"$0\" generate completions bash | head -c 1 > /dev/null; echo ${PIPESTATUS[0]}"])
        .arg(binary));
    let stderr = text(ran.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
}
