//! Environments, and what may be known of them afterwards.

use super::*;
use std::process::{Command, Stdio};

/// `expected`: service, env, version; empty for none.
fn check(variables: &[&[u8]], expected: [&str; 3]) {
    let mut environ = variables.join(&0);
    environ.push(0);
    let mut found = Found::default();
    each_variable(&environ[..], |variable| found.variable(variable)).unwrap();
    let Service { service, env, version } = found.service();
    let shown: Vec<_> =
        variables.iter().map(|one| String::from_utf8_lossy(&one[..one.len().min(99)])).collect();
    assert_eq!([service, env, version].map(Option::unwrap_or_default), expected, "{shown:?}");
}

#[test]
fn the_first_of_the_known_variables_counts() {
    let all: [&[u8]; 5] = [
        b"OTEL_RESOURCE_ATTRIBUTES=service.name=c,deployment.environment=e,service.version=3",
        b"OTEL_SERVICE_NAME=b",
        b"DD_SERVICE=a",
        b"DD_ENV=d",
        b"DD_VERSION=1",
    ];
    check(&all, ["a", "d", "1"]);
    check(&all[..2], ["b", "e", "3"]);
    check(&all[..1], ["c", "e", "3"]);
    check(&all[1..], ["a", "d", "1"]);
    check(&[b"DD_SERVICE=first", b"DD_SERVICE=second"], ["first", "", ""]);
    check(&[b"DD_SERVICE=", b"OTEL_SERVICE_NAME=  ", all[0]], ["c", "e", "3"]);
    check(&[b"PATH=/bin", b"DD_SERVICE= a b ", b"X=1"], ["a b", "", ""]);
    check(&[b"OTEL_SERVICE_NAME=containerd-shim-3f1b8c0a", all[0]], ["c", "e", "3"]);
    check(&[b"OTEL_SERVICE_NAME=containerd"], ["containerd", "", ""]);
    check(
        &[b"OTEL_RESOURCE_ATTRIBUTES=deployment.environment=old,deployment.environment.name=new"],
        ["", "new", ""],
    );
}

#[test]
fn attributes_are_decoded_wholly_or_not_at_all() {
    let rows: &[(&[u8], [&str; 3])] = &[
        (b"service.name=a%20b%2Cc%3Dd,x=y", ["a b,c=d", "", ""]),
        (b" service.name = a , service.version = 1 ,", ["a", "", "1"]),
        (b"service%2Ename=a", ["a", "", ""]),
        (b"service.name=na%C3%AFve", ["na\u{ef}ve", "", ""]),
        (b"service.name=a=b", ["a=b", "", ""]),
        (b"service.name=a,service.name=b", ["b", "", ""]),
        (b"service.name=%ff", ["\u{fffd}", "", ""]),
        (b"service.namespace=n,xservice.name=m", ["", "", ""]),
        (b"", ["", "", ""]),
        (b",,", ["", "", ""]),
        // One error anywhere, and nothing of it counts.
        (b"service.name=a,x=%zz", ["", "", ""]),
        (b"service.name=a,x=%2", ["", "", ""]),
        (b"service.name=a,x=%", ["", "", ""]),
        (b"service.name=a,%=1", ["", "", ""]),
        (b"service.name=a,x", ["", "", ""]),
        (b"service.name=%+1", ["", "", ""]),
    ];
    for (value, expected) in rows {
        let variable = [b"OTEL_RESOURCE_ATTRIBUTES=", *value].concat();
        check(&[&variable], *expected);
        // The other variables do not suffer.
        check(&[&variable, b"DD_ENV=prod"], [expected[0], "prod", expected[2]]);
    }
}

#[test]
fn what_a_target_writes_there_cannot_hurt() {
    check(&[], ["", "", ""]);
    check(&[b"", b"=", b"=DD_SERVICE", b"DD_SERVICE", b"dd_service=a", b"XDD_SERVICE=a"], ["", "", ""]);
    check(&[b"DD_SERVICE=\xff\xfe\x1b[31m"], ["\u{fffd}\u{fffd}\x1b[31m", "", ""]);
    let long = [b"DD_SERVICE=".to_vec(), "\u{1f40d}".repeat(5000).into_bytes()].concat();
    check(&[&long], [&"\u{1f40d}".repeat(MAX_LABEL_CHARS), "", ""]);
    // Longer than the buffer, by one and by much: passed over, and what comes next is not.
    for bytes in [BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES] {
        let huge = [b"DD_SERVICE=".to_vec(), vec![b'x'; bytes - 11]].concat();
        let expected = if bytes < BUFFER_BYTES { "x".repeat(MAX_LABEL_CHARS) } else { String::new() };
        check(&[b"A=1", &huge, b"DD_ENV=e"], [&expected, "e", ""]);
        // In front of the wanted one, at every position of the buffer's end within it.
        let other = vec![b'y'; bytes - 11];
        check(&[&other, b"DD_SERVICE=after", b"DD_ENV=e"], ["after", "e", ""]);
    }
    // Beyond the limit nothing is read, and what the limit cuts is no answer.
    let filler = vec![b'y'; 1000];
    let mut variables: Vec<&[u8]> = vec![&filler; MAX_ENVIRON_BYTES / 1001];
    variables.push(b"DD_SERVICE=cut");
    let kept = MAX_ENVIRON_BYTES / 1001 * 1001 + b"DD_SERVICE=cut".len() < MAX_ENVIRON_BYTES;
    check(&variables, [if kept { "cut" } else { "" }, "", ""]);
    variables.insert(0, &filler);
    variables.insert(0, b"DD_ENV=e");
    check(&variables, ["", "e", ""]);
}

/// Gives its bytes in pieces of a few, as the kernel may.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.1.min(self.0.len()).min(into.len());
        into[..piece].copy_from_slice(&self.0[..piece]);
        self.0 = &self.0[piece..];
        Ok(piece)
    }
}

#[test]
fn pieces_of_any_size_give_the_same_variables() {
    let environ = b"A=1\0\0DD_SERVICE=checkout\0B=2\0cut";
    for piece in 1..environ.len() {
        let mut all = Vec::new();
        each_variable(Trickle(environ, piece), |variable| all.push(variable.to_vec())).unwrap();
        assert_eq!(all, [&b"A=1"[..], b"", b"DD_SERVICE=checkout", b"B=2"], "{piece}");
    }
}

#[test]
fn a_live_process_tells_its_service_and_nothing_else() {
    let mut child = Command::new("sleep")
        .arg("60")
        .env_clear()
        .env("SECRET", "hunter2")
        .env("DD_SERVICE", "checkout")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=prod,password=hunter2,service.version=1.2",
        )
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let got = service(child.id());
    let _ = child.kill();
    let _ = child.wait();
    let named = |name: &str| Some(name.to_owned());
    let expected = Service { service: named("checkout"), env: named("prod"), version: named("1.2") };
    assert_eq!(got.unwrap(), expected);
    assert!(service(child.id()).is_err());
}
