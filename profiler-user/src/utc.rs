//! Dates in UTC, for names of directories and for capture.json: the only two shapes that the program prints.

/// Calendar fields of an instant in UTC.
struct Utc {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    nanosecond: u64,
}

impl Utc {
    /// Days to civil date in the proleptic Gregorian calendar, with years that start in March so that the leap day
    /// is the last one (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
    fn of(unix_ns: u64) -> Self {
        let seconds = unix_ns / 1_000_000_000;
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            nanosecond: unix_ns % 1_000_000_000,
        }
    }
}

/// RFC 3339 with milliseconds: `2026-11-20T23:15:00.250Z`.
pub fn rfc3339(unix_ns: u64) -> String {
    let Utc { year, month, day, hour, minute, second, nanosecond } = Utc::of(unix_ns);
    let millisecond = nanosecond / 1_000_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// Without characters that a shell or a file system minds: `20261120T231500Z`.
pub fn compact(unix_ns: u64) -> String {
    let Utc { year, month, day, hour, minute, second, .. } = Utc::of(unix_ns);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        // Expectations from `date -u -d @SECONDS +%Y%m%dT%H%M%SZ`.
        let rows = [
            (0, "19700101T000000Z"),
            (68_169_599, "19720228T235959Z"),
            (68_169_600, "19720229T000000Z"),
            (951_868_799, "20000229T235959Z"),
            (951_868_800, "20000301T000000Z"),
            (1_795_216_500, "20261120T231500Z"),
            (4_107_542_400, "21000301T000000Z"),
            (18_446_744_073, "25540721T233433Z"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(compact(seconds * 1_000_000_000), expected, "{seconds}");
        }
        assert_eq!(rfc3339(1_795_216_500_250_999_999), "2026-11-20T23:15:00.250Z");
        assert!(rfc3339(u64::MAX).starts_with("2554-07-21T23:34:33."));
    }
}
