//! Single values of the command line. Numbers are plain decimals: no sign, no exponent, no `inf`, no `NaN`.

use crate::colour::Colour;
use crate::encode::Format;
use crate::process::own;
use crate::profile::MergeBy;
use crate::select::User;
use std::ops::RangeInclusive;
use std::time::Duration;

/// PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h).
pub(super) const MAX_PID: i64 = 4 * 1024 * 1024;

/// The upper end keeps the 32-bit ids of a profile from running out (`profile::intern`).
pub(super) const MEMORY_MB: RangeInclusive<u64> = 16..=16_384;

/// A petabyte: beyond any disk, far from any overflow.
pub(super) const MAX_SIZE_MB: u64 = 1 << 30;

const MAX_DURATION_SECONDS: f64 = 366.0 * 86_400.0;
const MIN_DURATION_SECONDS: f64 = 0.001;
/// 1,024 cores: beyond any real wish, far from any overflow.
const MAX_PERCENT: f64 = 102_400.0;

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("not a number with one of the units ms, s, m, h, or none".into()),
    };
    let seconds = decimal(number)? * unit_seconds;
    if seconds < MIN_DURATION_SECONDS {
        return Err("the shortest duration is 1ms".into());
    }
    if seconds > MAX_DURATION_SECONDS {
        return Err("the longest duration is 8784h; leave it out to sample until Ctrl-C".into());
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    let percent = decimal(text.strip_suffix('%').unwrap_or(text))?;
    if percent > 0.0 && percent <= MAX_PERCENT {
        Ok(percent)
    } else {
        Err(format!("must be above 0 and at most {MAX_PERCENT}"))
    }
}

pub(super) fn merge_by(text: &str) -> Result<MergeBy, String> {
    match text {
        "name" => Ok(MergeBy::Name),
        "service" => Ok(MergeBy::Service),
        "container" => Ok(MergeBy::Container),
        _ => Err("must be name, service or container".into()),
    }
}

pub(super) fn format(text: &str) -> Result<Format, String> {
    let names = Format::ALL.map(Format::name).join(", ");
    Format::of_name(text).ok_or_else(|| format!("must be one of {names}"))
}

pub(super) fn filled(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
}

pub(super) fn colour(text: &str) -> Result<Colour, String> {
    match text {
        "auto" => Ok(Colour::Auto),
        "always" => Ok(Colour::Always),
        "never" => Ok(Colour::Never),
        _ => Err("must be auto, always or never".into()),
    }
}

pub(super) fn python(text: &str) -> Result<String, String> {
    // Such as 3, 3.11, 3.13t and 3.15.0a1.
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if text.split('.').all(is_part) { Ok(text.to_owned()) } else { Err("not a version such as 3.11".into()) }
}

/// A path in a hierarchy, without a slash at its end.
pub(super) fn cgroup(text: &str) -> Result<String, String> {
    const MOUNTS: &str = "/sys/fs/cgroup";
    let path = if text.starts_with(MOUNTS) {
        let whole = std::fs::canonicalize(text).map_err(|error| format!("no such control group: {error}"))?;
        let whole = whole.to_str().ok_or("not text")?;
        own::path_in_hierarchy(whole).ok_or("not in a hierarchy of control groups")?
    } else if text.starts_with('/') {
        text.to_owned()
    } else if text.is_empty() {
        return Err("must not be empty".into());
    } else {
        format!("/{text}")
    };
    Ok(path.trim_end_matches('/').to_owned())
}

/// A number, or the name of a user that this host knows.
pub(super) fn user(text: &str) -> Result<User, String> {
    let uid = match text.parse::<u32>() {
        Ok(uid) => uid,
        Err(_) => uid_of(text).ok_or("no such user")?,
    };
    Ok(User { typed: text.to_owned(), uid })
}

fn uid_of(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    let mut buffer = [0 as libc::c_char; 16 << 10];
    // SAFETY: `passwd` is plain pointers and numbers.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: a string that ends in NUL, valid structures, and a buffer of the size that is stated.
    let status =
        unsafe { libc::getpwnam_r(name.as_ptr(), &mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found) };
    (status == 0 && !found.is_null()).then_some(entry.pw_uid)
}

fn decimal(text: &str) -> Result<f64, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse::<f64>() {
        Ok(value) if plain && value.is_finite() => Ok(value),
        _ => Err("not a number".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let digits = "9".repeat(400);
        let rows: &[(&str, Option<u64>)] = &[
            ("10", Some(10_000)),
            ("0.3", Some(300)),
            (".3", Some(300)),
            ("5.", Some(5_000)),
            ("2s", Some(2_000)),
            ("300ms", Some(300)),
            ("1.5m", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("8784h", Some(366 * 86_400_000)),
            ("8785h", None),
            ("0", None),
            ("0.0000001", None),
            ("0ms", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("nan", None),
            ("NaN", None),
            ("inf", None),
            ("infinity", None),
            ("", None),
            (".", None),
            ("s", None),
            ("1 s", None),
            ("1.2.3", None),
            ("5d", None),
            ("\u{663}", None),
            (&digits, None),
        ];
        for (text, millis) in rows {
            assert_eq!(duration(text).ok().map(|got| got.as_millis() as u64), *millis, "{text:?}");
        }
    }

    #[test]
    fn percents() {
        let rows =
            [("5", Some(5.0)), ("0.5%", Some(0.5)), ("0", None), ("NaN", None), ("-5", None), ("", None)];
        for (text, expected) in rows {
            assert_eq!(percent(text).ok(), expected, "{text:?}");
        }
    }
}
