//! A capture against its published schema, in both directions.

use super::*;
use crate::profile::{FrequencyChange, Labels, Loss, OwnCost, ProcessMeta, Selected, Ticks};
use serde_json::{Value, json};

/// The keywords that the schema uses; any other one is a failure, so that nothing is passed over in silence.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str, errors: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let mut check = |ok: bool| {
            if !ok {
                errors.push(format!("{at}: {keyword} {rule} does not hold for {value}"));
            }
        };
        match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                validate(root, root.pointer(pointer).unwrap(), value, at, errors);
            }
            "type" => check(match rule.as_array() {
                Some(rules) => rules.iter().any(|rule| is_type(value, rule)),
                None => is_type(value, rule),
            }),
            "const" => check(value == rule),
            "minimum" => check(value.as_f64().is_none_or(|value| value >= rule.as_f64().unwrap())),
            "maximum" => check(value.as_f64().is_none_or(|value| value <= rule.as_f64().unwrap())),
            // One pattern is in use; this is what it says.
            "pattern" => check(is_rfc3339(value.as_str().unwrap_or_default())),
            "required" => {
                // Of an object; whether it has to be one, its type says.
                for name in rule.as_array().into_iter().flatten().filter(|_| value.is_object()) {
                    check(value.get(name.as_str().unwrap()).is_some());
                }
            }
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        validate(root, schema, value, &format!("{at}/{name}"), errors);
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    match rule {
                        _ if known.is_some_and(|known| known.contains_key(name)) => {}
                        Value::Bool(false) => errors.push(format!("{at}/{name}: not in the schema")),
                        rule => validate(root, rule, value, &format!("{at}/{name}"), errors),
                    }
                }
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, rule, value, &format!("{at}/{index}"), errors);
                }
            }
            _ => errors.push(format!("{at}: the test does not know the keyword {keyword}")),
        }
    }
}

fn is_type(value: &Value, rule: &Value) -> bool {
    match rule.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("the test does not know the type {other}"),
    }
}

fn is_rfc3339(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

/// Every property that the schema knows must be required, so that a field removed from the program is missed.
fn all_required(schema: &Value, at: &str, errors: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let mut known: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut required: Vec<&str> =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        known.sort_unstable();
        required.sort_unstable();
        if known != required || schema["additionalProperties"] != json!(false) {
            errors.push(format!("{at}: not closed"));
        }
    }
    for (name, child) in schema.as_object().into_iter().flatten() {
        all_required(child, &format!("{at}/{name}"), errors);
    }
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../docs/capture.schema.json")).unwrap()
}

fn instance() -> Value {
    let mut profile = Profile::new(ProcessMeta {
        pid: 7,
        start_boot_ns: 4_000_000_000,
        name: "app.py".into(),
        executable: "/usr/bin/python3.11".into(),
        python_version: "3.11.2".into(),
        labels: Labels { service: Some("checkout".into()), ..Default::default() },
        off_cpu: Some(OffCpuMeta { blocked_ns: 5, ..OffCpuMeta::default() }),
        ..Default::default()
    });
    let thread = profile.thread(7, 0);
    let stack = profile.stack(&[]);
    for (weight_ns, &outcome) in (1..).zip(Outcome::ALL) {
        profile.add(thread, stack, outcome, weight_ns);
    }
    profile.add_dropped(1);
    let capture = CaptureMeta {
        tool_version: "0.1.0".into(),
        host: "web1".into(),
        kernel: "6.1.0".into(),
        start_unix_ns: 1_795_216_500_000_000_000,
        start_boot_ns: 5_000_000_000,
        start_monotonic_ns: 4_000_000_000,
        duration_ns: 10_250_000_000,
        frequency_hz: 99,
        selected: Selected {
            asked: vec![("name".into(), vec!["^web".into()]), ("exclude-uid".into(), vec!["0".into()])],
            left_out: 3,
            left_out_ticks: 70,
        },
        frequency_changes: vec![FrequencyChange { after_ns: 500_000_000, frequency_hz: 49 }],
        ticks: Ticks {
            expected: 30,
            delivered: 29,
            idle: 13,
            other: 7,
            on_python: 9,
            on_python_ns: 90_000_000,
        },
        losses: vec![Loss { name: "ring_full".into(), count: 3 }],
        notes: Vec::new(),
        own_cost: OwnCost { cpu_ns: 1, peak_rss_bytes: 2, kernel_bytes: 3 },
    };
    let refused =
        crate::profile::UnsupportedProcess { pid: 9, name: "old".into(), reason: "CPython 2.7.18".into() };
    let unsupported = Unsupported { listed: vec![refused], more: 2 };
    let files = [(&profile, Some("app.py-7.pb.gz")), (&profile, None)];
    let json = CaptureJson::new(&capture, files, &unsupported);
    serde_json::from_slice(&json.to_bytes()).unwrap()
}

fn errors_of(value: &Value) -> Vec<String> {
    let schema = schema();
    let mut errors = Vec::new();
    validate(&schema, &schema, value, "", &mut errors);
    all_required(&schema, "", &mut errors);
    errors
}

#[test]
fn a_capture_is_what_its_schema_says() {
    assert_eq!(errors_of(&instance()), [""; 0]);
}

#[test]
fn the_schema_bites() {
    let rows: &[(&str, Value)] = &[
        ("/schema", json!(2)),
        ("/start", json!("yesterday")),
        ("/ticks/expected", json!(-1)),
        ("/losses/ring_full", json!("3")),
        ("/processes/0/outcomes/complete", json!(0.5)),
        ("/processes/0/file", json!(1)),
        ("/processes/0/service", json!(1)),
        ("/processes/1", json!({})),
        ("/processes/0/off_cpu/off_cpu_ns", json!(-1)),
        ("/processes/0/off_cpu", json!({})),
        ("/own_cost", json!([])),
        ("/processes/0/verified", json!(1)),
        ("/unsupported/0/reason", json!(null)),
        ("/unsupported_more", json!(-1)),
    ];
    for (pointer, bad) in rows {
        let mut value = instance();
        *value.pointer_mut(pointer).unwrap() = bad.clone();
        assert!(!errors_of(&value).is_empty(), "{pointer}");
    }
    for pointer in
        ["", "/ticks", "/frequency_changes/0", "/processes/0", "/processes/0/outcomes", "/unsupported/0"]
    {
        let mut value = instance();
        value.pointer_mut(pointer).unwrap()["surprise"] = json!(1);
        assert!(!errors_of(&value).is_empty(), "{pointer}");
    }
}

#[test]
fn every_outcome_is_there_and_they_add_up() {
    let value = instance();
    let process = &value["processes"][0];
    let outcomes = process["outcomes"].as_object().unwrap();
    for outcome in Outcome::ALL {
        assert_eq!(outcomes[outcome.name()], 1);
    }
    assert_eq!(process["samples"], outcomes.values().map(|count| count.as_u64().unwrap()).sum::<u64>());
    assert_eq!(process["start"], "2026-11-20T23:14:59.000Z");
}
