//! How a process calls its service, in the variables that Datadog and OpenTelemetry read.
//!
//! An environment holds passwords. So it passes through one buffer that is wiped afterwards, and only the values of the
//! five variables below are ever copied out of it; of `OTEL_RESOURCE_ATTRIBUTES`, only four attributes.

use std::fs::File;
use std::io::{self, Read};

use super::cgroup::MAX_LABEL_CHARS;

/// Environments are a few KiB, some 100 KiB where Kubernetes announces every service of a big cluster in it; the kernel
/// allows 6 MiB. What is behind this is not looked at: the time it takes is the target's to choose.
const MAX_ENVIRON_BYTES: usize = 1 << 20;
/// A variable longer than this is passed over.
const BUFFER_BYTES: usize = 32 << 10;

/// What a process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    pub service: Option<String>,
    pub env: Option<String>,
    pub version: Option<String>,
}

/// The variables as they were when the program was started. `task` may be any live thread of the process.
pub fn service(task: u32) -> io::Result<Service> {
    read(File::open(format!("/proc/{task}/environ"))?)
}

/// The same from what `/proc/PID/environ` holds; stops where that is longer than anybody looks at.
pub fn read(from: impl Read) -> io::Result<Service> {
    let mut found = Found::default();
    each_variable(from, |variable| found.variable(variable))?;
    Ok(found.service())
}

/// Bytes of a target's environment, wiped when done with, whatever happens.
struct Wiped([u8; BUFFER_BYTES]);

impl Drop for Wiped {
    fn drop(&mut self) {
        // SAFETY: exactly the bytes of the array, which is borrowed mutably.
        unsafe { libc::explicit_bzero(self.0.as_mut_ptr().cast(), BUFFER_BYTES) };
    }
}

/// Passes each whole `NAME=VALUE` of `from` to `visit`.
fn each_variable(from: impl Read, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let mut from = from.take(MAX_ENVIRON_BYTES as u64);
    let mut buffer = Box::new(Wiped([0; BUFFER_BYTES]));
    let bytes = &mut buffer.0;
    // Of the variable that the buffer ends in, `held` bytes have come; of one too long, none is kept.
    let (mut held, mut too_long) = (0, false);
    loop {
        let read = match from.read(&mut bytes[held..]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let filled = held + read;
        let mut start = 0;
        while let Some(length) = bytes[start..filled].iter().position(|byte| *byte == 0) {
            if !std::mem::take(&mut too_long) {
                visit(&bytes[start..start + length]);
            }
            start += length + 1;
        }
        bytes.copy_within(start..filled, 0);
        held = filled - start;
        if held == BUFFER_BYTES {
            (held, too_long) = (0, true);
        }
    }
    // The last variable ends in a NUL, too, unless the limit cut it.
    Ok(())
}

/// Where each answer came from; the first that is there counts.
#[derive(Default)]
struct Found {
    datadog: Service,
    service_name: Option<String>,
    attributes: Attributes,
    attributes_seen: bool,
}

impl Found {
    /// Of two variables with one name the first counts, as for `getenv`.
    fn variable(&mut self, variable: &[u8]) {
        let Some(equals) = variable.iter().position(|byte| *byte == b'=') else { return };
        let (name, value) = (&variable[..equals], &variable[equals + 1..]);
        let place = match name {
            b"DD_SERVICE" => &mut self.datadog.service,
            b"DD_ENV" => &mut self.datadog.env,
            b"DD_VERSION" => &mut self.datadog.version,
            b"OTEL_SERVICE_NAME" => &mut self.service_name,
            b"OTEL_RESOURCE_ATTRIBUTES" => {
                if !std::mem::replace(&mut self.attributes_seen, true) {
                    self.attributes = Attributes::parse(value).unwrap_or_default();
                }
                return;
            }
            _ => return,
        };
        // containerd's shim names itself in a variable that leaks into what it starts.
        if !value.starts_with(b"containerd-shim-") && place.is_none() {
            *place = text(value);
        }
    }

    fn service(self) -> Service {
        let Found { datadog, service_name, attributes, attributes_seen: _ } = self;
        Service {
            service: datadog.service.or(service_name).or(attributes.service),
            env: datadog.env.or(attributes.environment_name).or(attributes.environment),
            version: datadog.version.or(attributes.version),
        }
    }
}

/// The attributes of `OTEL_RESOURCE_ATTRIBUTES` that name a service (OpenTelemetry, resource SDK: pairs joined by
/// commas, percent-encoded, and nothing of it counts if any of it is malformed).
#[derive(Default)]
struct Attributes {
    service: Option<String>,
    environment_name: Option<String>,
    /// What `deployment.environment.name` was called before.
    environment: Option<String>,
    version: Option<String>,
}

impl Attributes {
    fn parse(value: &[u8]) -> Option<Attributes> {
        let mut attributes = Attributes::default();
        for pair in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
        {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
            if decoded(key).chain(decoded(value)).any(|byte| byte.is_none()) {
                return None;
            }
            let is = |name: &str| decoded(key).flatten().eq(name.bytes());
            let place = if is("service.name") {
                &mut attributes.service
            } else if is("deployment.environment.name") {
                &mut attributes.environment_name
            } else if is("deployment.environment") {
                &mut attributes.environment
            } else if is("service.version") {
                &mut attributes.version
            } else {
                continue;
            };
            *place = text(&decoded(value).flatten().collect::<Vec<u8>>());
        }
        Some(attributes)
    }
}

/// The bytes that percent-encoded text stands for, one by one: what is not asked for is not copied. `None` for an error.
fn decoded(text: &[u8]) -> impl Iterator<Item = Option<u8>> + '_ {
    let mut rest = text.iter();
    std::iter::from_fn(move || {
        let byte = *rest.next()?;
        if byte != b'%' {
            return Some(Some(byte));
        }
        let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16));
        Some(digit().zip(digit()).map(|(high, low)| (high * 16 + low) as u8))
    })
}

/// A value that is not empty, as text of bounded length.
fn text(value: &[u8]) -> Option<String> {
    // Four bytes are the most that a character takes.
    let value = value.trim_ascii();
    let value = &value[..value.len().min(4 * MAX_LABEL_CHARS)];
    let text: String = String::from_utf8_lossy(value).chars().take(MAX_LABEL_CHARS).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[path = "environ_tests.rs"]
mod tests;
