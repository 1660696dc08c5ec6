//! What to say when nothing matches what was asked for: how many others there are, and what the closest have instead.

use crate::escape::escape;
use crate::pipeline::NearMiss;

/// Of how many processes something is told.
const MAX_TOLD: usize = 3;

/// As options: `--name web --uid www-data`.
pub fn as_options(asked: &[(String, Vec<String>)]) -> String {
    let values = asked.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let option = |(name, value): (&String, &String)| format!("--{name} {}", escape(value));
    values.map(option).collect::<Vec<_>>().join(" ")
}

/// `no Python process matches --name web --uid 33; there are 4 others, closest: app (pid 7) has name app`
pub fn nothing_matches(asked: &[(String, Vec<String>)], left_out: u64, near: &[NearMiss]) -> String {
    let others = match left_out {
        0 => "; there is no other".to_owned(),
        1 => "; there is 1 other".to_owned(),
        others => format!("; there are {others} others"),
    };
    let told: Vec<String> = near
        .iter()
        .take(MAX_TOLD)
        .map(|NearMiss { pid, name, missed: _, kind, has }| {
            format!("{} (pid {pid}) has {kind} {has}", escape(name))
        })
        .collect();
    let closest = if told.is_empty() { String::new() } else { format!(", closest: {}", told.join("; ")) };
    format!("no Python process matches {}{others}{closest}", as_options(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_are_told_and_nothing_reaches_the_terminal_raw() {
        let asked = vec![
            ("name".to_owned(), vec!["we\u{1b}b".to_owned()]),
            ("uid".to_owned(), vec!["33".to_owned(), "34".to_owned()]),
        ];
        let near =
            |pid, name: &str| NearMiss { pid, name: name.into(), missed: 1, kind: "uid", has: "0".into() };
        let options = "--name we\\x1bb --uid 33 --uid 34";
        let four = [near(1, "a"), near(2, "b\u{1b}"), near(3, "c"), near(4, "d")];
        let rows = [
            (0, &four[..0], format!("no Python process matches {options}; there is no other")),
            (
                1,
                &four[..1],
                format!(
                    "no Python process matches {options}; there is 1 other, closest: a (pid 1) has uid 0"
                ),
            ),
            (
                7,
                &four[..],
                format!(
                    "no Python process matches {options}; there are 7 others, closest: a (pid 1) has uid 0; \
                     b\\x1b (pid 2) has uid 0; c (pid 3) has uid 0"
                ),
            ),
        ];
        for (left_out, near, expected) in rows {
            assert_eq!(nothing_matches(&asked, left_out, near), expected);
        }
    }
}
