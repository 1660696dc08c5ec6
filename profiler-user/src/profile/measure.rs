//! What the two numbers of a sample are: how many, and how much. The names are those that readers of pprof know.

use std::borrow::Cow;

/// A name and its unit, such as `cpu` in `nanoseconds`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValueType {
    pub name: Cow<'static, str>,
    pub unit: Cow<'static, str>,
}

impl ValueType {
    const fn new(name: &'static str, unit: &'static str) -> ValueType {
        ValueType { name: Cow::Borrowed(name), unit: Cow::Borrowed(unit) }
    }
}

/// The values of a profile, which are `Total.samples` and `Total.weight_ns` of every sample.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Measure {
    pub count: ValueType,
    pub weight: ValueType,
}

impl Measure {
    /// Time on a CPU, sampled.
    pub const CPU: Measure =
        Measure { count: ValueType::new("samples", "count"), weight: ValueType::new("cpu", "nanoseconds") };
    /// Time blocked off a CPU: measured, not sampled.
    pub const OFF_CPU: Measure = Measure {
        count: ValueType::new("off_cpu_events", "count"),
        weight: ValueType::new("off_cpu", "nanoseconds"),
    };
}
