//! `/proc/PID/environ` in pieces of any length, held against a reader that has all of it at once.
#![no_main]

use std::io::{self, Read};

use profiler_user::process::environ::{Service, read};
use pyprof_fuzz::alloc::within;
use pyprof_fuzz::input::Input;
use pyprof_fuzz::target;

target!(seeds, check);

/// What is looked at of an environment, of one variable, and of a value.
const MOST_BYTES: usize = 1 << 20;
const MOST_VARIABLE_BYTES: usize = 32 << 10;
const MOST_CHARS: usize = 200;
/// The buffer, and the attributes of one variable: values that are decoded, in vectors that double.
const MOST_HELD_BYTES: usize = 5 * MOST_VARIABLE_BYTES;

/// Hands out `data` over and over in pieces of changing length, as the kernel may.
struct Pieces<'a> {
    data: &'a [u8],
    times: usize,
    given: usize,
    step: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.step = self.step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if self.step >> 33 & 7 == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let left = self.data.len() * self.times - self.given;
        let len = (1 + (self.step >> 40)).min(into.len()).min(left);
        for (at, byte) in into[..len].iter_mut().enumerate() {
            *byte = self.data[(self.given + at) % self.data.len()];
        }
        self.given += len;
        assert!(self.given <= MOST_BYTES, "more than {MOST_BYTES} bytes of an environment");
        Ok(len)
    }
}

fn check(data: &[u8]) {
    let mut input = Input(data);
    let step = input.u8();
    let times = input.times(2 * MOST_BYTES);
    let data = input.0;
    let mut pieces = Pieces { data, times, given: 0, step: step.into() };
    let service = within(MOST_HELD_BYTES, || read(&mut pieces)).expect("nothing fails");
    for text in [&service.service, &service.env, &service.version].into_iter().flatten() {
        let chars = text.chars().count();
        assert!((1..=MOST_CHARS).contains(&chars), "a value of {chars} characters");
    }
    let all = data.repeat(times);
    assert_eq!(service, slowly(&all[..all.len().min(MOST_BYTES)]));
}

fn slowly(all: &[u8]) -> Service {
    let mut variables: Vec<&[u8]> = all.split(|byte| *byte == 0).collect();
    // What no NUL ends.
    variables.pop();
    variables.retain(|variable| variable.len() < MOST_VARIABLE_BYTES);
    let named = |name: &'static str| {
        variables.iter().filter_map(move |it| it.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    let value = |name| named(name).filter(|value| !value.starts_with(b"containerd-shim-")).find_map(text);
    let attributes = named("OTEL_RESOURCE_ATTRIBUTES").next().and_then(attributes).unwrap_or_default();
    let attribute = |name: &str| {
        attributes.iter().rev().find(|(key, _)| key == name.as_bytes()).and_then(|(_, value)| text(value))
    };
    Service {
        service: value("DD_SERVICE").or(value("OTEL_SERVICE_NAME")).or(attribute("service.name")),
        env: value("DD_ENV")
            .or(attribute("deployment.environment.name"))
            .or(attribute("deployment.environment")),
        version: value("DD_VERSION").or(attribute("service.version")),
    }
}

/// Pairs in order; `None` if one of them is malformed.
fn attributes(value: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut pairs = Vec::new();
    for pair in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        pairs.push((percent(key.trim_ascii())?, percent(value[1..].trim_ascii())?));
    }
    Some(pairs)
}

fn percent(text: &[u8]) -> Option<Vec<u8>> {
    let (mut decoded, mut at) = (Vec::new(), 0);
    while let Some(byte) = text.get(at) {
        let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
        decoded.push(if *byte == b'%' { (digit(at + 1)? << 4 | digit(at + 2)?) as u8 } else { *byte });
        at += if *byte == b'%' { 3 } else { 1 };
    }
    Some(decoded)
}

fn text(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    // Four bytes are the most that a character takes: what is behind is not looked at.
    let lossy = String::from_utf8_lossy(&value[..value.len().min(4 * MOST_CHARS)]).into_owned();
    let cut: String = lossy.chars().take(MOST_CHARS).collect();
    (!cut.is_empty()).then_some(cut)
}

fn seeds() -> Vec<Vec<u8>> {
    let rows: [&[u8]; 5] = [
        b"PATH=/bin\0DD_SERVICE=shop\0DD_ENV=prod\0DD_VERSION=1.2\0DD_SERVICE=other\0",
        b"OTEL_SERVICE_NAME=shop\0OTEL_RESOURCE_ATTRIBUTES=service.name=a%20b, deployment.environment=x,\
            service.version=%32,deployment.environment.name=y\0",
        b"DD_SERVICE=containerd-shim-runc\0DD_ENV= \0DD_ENV=caf\xc3\xa9\xff\0no value\0=\0\0DD_VERSION=cut",
        b"OTEL_RESOURCE_ATTRIBUTES=service.name\0OTEL_RESOURCE_ATTRIBUTES=service.name=second\0",
        b"\0",
    ];
    let mut seeds: Vec<Vec<u8>> = rows.iter().map(|row| [&[1, 0], *row].concat()).collect();
    seeds.extend(rows.iter().map(|row| [&[7, 243], *row].concat()));
    seeds
}
