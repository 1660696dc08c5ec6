//! Numbers that were measured several times: their middle, their spread, and how they are written.

use std::fmt;

/// Repetitions of one measurement.
#[derive(Clone, Debug, Default)]
pub struct Figure(Vec<f64>);

impl Figure {
    pub fn push(&mut self, value: f64) {
        let at = self.0.partition_point(|other| *other < value);
        self.0.insert(at, value);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The lowest and the highest.
    pub fn ends(&self) -> Option<(f64, f64)> {
        Some((*self.0.first()?, *self.0.last()?))
    }

    pub fn median(&self) -> f64 {
        match self.0.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => self.0[n / 2],
            n => (self.0[n / 2 - 1] + self.0[n / 2]) / 2.0,
        }
    }

    /// An interval that holds the true median with a probability of 95 %, whatever the distribution: the number of
    /// values below it is binomial.
    pub fn median_range(&self) -> (f64, f64) {
        let n = self.0.len() as f64;
        let half = 0.98 * n.sqrt();
        let low = (n / 2.0 - half).floor().max(0.0) as usize;
        let high = ((n / 2.0 + half).ceil() as usize).min(self.0.len().saturating_sub(1));
        (self.0.get(low).copied().unwrap_or(f64::NAN), self.0.get(high).copied().unwrap_or(f64::NAN))
    }

    pub fn scaled(&self, factor: f64) -> Figure {
        Figure(self.0.iter().map(|value| value * factor).collect())
    }
}

/// `1,234 (1,200-1,300)`; `{:.1}` for decimals.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((low, high)) = self.ends() else { return f.write_str("-") };
        let decimals = f.precision().unwrap_or(0);
        let [middle, low, high] = [self.median(), low, high].map(|value| grouped(value, decimals));
        write!(f, "{middle} ({low}-{high})")
    }
}

/// With commas between thousands.
pub fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let digits = text.find('.').unwrap_or(text.len());
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        if at < digits && at > 0 && (digits - at).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A table of Markdown; the first row is its head.
pub fn table(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        out += &format!("| {} |\n", row.join(" | "));
        if at == 0 {
            out += &format!("|{}\n", "---|".repeat(row.len()));
        }
    }
    out
}

/// What the project promises of its cost, beside what was measured.
#[derive(Default)]
pub struct Targets {
    rows: Vec<Vec<String>>,
    pub missed: usize,
}

impl Targets {
    pub fn at_most(&mut self, what: String, limit: f64, unit: &str, measured: f64, decimals: usize) {
        let ok = measured <= limit;
        self.missed += usize::from(!ok);
        let verdict = if ok { "ok" } else { "**MISSED**" };
        let value = |number: f64| format!("{} {unit}", grouped(number, decimals));
        self.rows.push(vec![what, format!("at most {limit} {unit}"), value(measured), verdict.to_owned()]);
    }

    pub fn table(&self) -> String {
        let head = ["target", "limit", "measured", ""].map(str::to_owned).to_vec();
        table(&std::iter::once(head).chain(self.rows.iter().cloned()).collect::<Vec<_>>())
    }
}
