//! Values in units that people read: one unit per table, so that numbers below each other compare.

use super::super::columns::grouped;

/// How all values of a table are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Unit {
    divisor: f64,
    decimals: usize,
    /// Empty for plain numbers.
    pub(super) name: &'static str,
}

/// By the largest value. Units that nobody knows are plain numbers.
pub(super) fn unit(of: &str, largest: u64) -> Unit {
    const NS: &[(f64, &str, usize)] = &[(1e9, "s", 2), (1e6, "ms", 2), (1e3, "us", 1), (1.0, "ns", 0)];
    const US: &[(f64, &str, usize)] = &[(1e6, "s", 2), (1e3, "ms", 2), (1.0, "us", 0)];
    const MS: &[(f64, &str, usize)] = &[(1e3, "s", 2), (1.0, "ms", 0)];
    const BYTES: &[(f64, &str, usize)] =
        &[(1_073_741_824.0, "GB", 2), (1_048_576.0, "MB", 2), (1024.0, "kB", 1), (1.0, "B", 0)];
    let steps = match of {
        "nanoseconds" | "ns" => NS,
        "microseconds" | "us" => US,
        "milliseconds" | "ms" => MS,
        "bytes" => BYTES,
        "seconds" | "s" => &[(1.0, "s", 0)],
        _ => &[(1.0, "", 0)],
    };
    let fits = steps.iter().find(|(divisor, ..)| largest as f64 >= *divisor).or(steps.last());
    let (divisor, name, decimals) = fits.copied().unwrap_or((1.0, "", 0));
    Unit { divisor, decimals, name }
}

impl Unit {
    pub(super) fn number(&self, value: u64) -> String {
        if self.decimals == 0 {
            return grouped(value);
        }
        format!("{:.*}", self.decimals, value as f64 / self.divisor)
    }

    /// With its sign, unless that is all that would be left of it.
    pub(super) fn signed(&self, value: i64) -> String {
        let number = self.number(value.unsigned_abs());
        let is_zero = !number.contains(|c: char| c.is_ascii_digit() && c != '0');
        match value {
            _ if is_zero => number,
            ..0 => format!("-{number}"),
            _ => format!("+{number}"),
        }
    }

    /// `3.37 s`
    pub(super) fn with_name(&self, value: u64) -> String {
        format!("{} {}", self.number(value), self.name).trim_end().to_owned()
    }

    /// `OWN s`
    pub(super) fn head(&self, what: &str) -> String {
        format!("{what} {}", self.name).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_unit_of_the_largest() {
        let rows = [
            ("nanoseconds", 3_370_000_000, "3.37 s"),
            ("nanoseconds", 999_999_999, "1000.00 ms"),
            ("nanoseconds", 12_345, "12.3 us"),
            ("nanoseconds", 7, "7 ns"),
            ("nanoseconds", 0, "0 ns"),
            ("milliseconds", 1500, "1.50 s"),
            ("bytes", 5 << 20, "5.00 MB"),
            ("bytes", 1000, "1,000 B"),
            ("count", 1_234_567, "1,234,567"),
            ("furlongs", 7, "7"),
        ];
        for (of, value, expected) in rows {
            assert_eq!(unit(of, value).with_name(value), expected, "{value} {of}");
        }
        assert_eq!(unit("nanoseconds", 2_000_000_000).signed(-500_000_000), "-0.50");
        assert_eq!(unit("nanoseconds", 2_000_000_000).signed(-5), "0.00");
        assert_eq!(unit("nanoseconds", 2_000_000_000).head("OWN"), "OWN s");
    }
}
