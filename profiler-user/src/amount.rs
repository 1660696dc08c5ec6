//! Amounts in units that people read. Tables have one unit per column: `summary::report::units`.

/// `13.3 MB`, in powers of 1,024 as `/proc` and memory limits are.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} kB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GB", bytes as f64 / 1_073_741_824.0),
    }
}

/// `20.5 ms`
pub fn ns(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        let rows = [
            (bytes(0), "0 B"),
            (bytes(1023), "1023 B"),
            (bytes(1024), "1.0 kB"),
            (bytes(13_972_760), "13.3 MB"),
            (bytes(u64::MAX), "17179869184.00 GB"),
            (ns(999), "999 ns"),
            (ns(1_000), "1.0 us"),
            (ns(10_101_010), "10.1 ms"),
            (ns(1_500_000_000), "1.50 s"),
        ];
        for (amount, expected) in rows {
            assert_eq!(amount, expected);
        }
    }
}
