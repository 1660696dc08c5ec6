//! `top`: what may be typed, and what it means together.

use super::capture::{TypedCapture, capture};
use super::talk::{TypedTalk, talk};
use super::values;
use crate::top::{Batch, TopOptions, Window};
use clap::Args;
use std::time::Duration;

#[derive(Args, Debug)]
pub(super) struct TypedTop {
    #[command(flatten)]
    pub(super) capture: TypedCapture,

    /// Time between two screens: seconds, or with a unit as in 500ms
    #[arg(short, long, value_name = "SECS", default_value = "1", value_parser = values::duration,
          allow_hyphen_values = true)]
    pub(super) interval: Duration,

    /// The part of the past that is shown: 1 to 60 seconds, or all since the start
    #[arg(short, long, value_name = "SECS|all", default_value = "10", value_parser = window,
          allow_hyphen_values = true)]
    pub(super) window: Window,

    /// Print plain tables instead of drawing on a terminal
    #[arg(short, long)]
    pub(super) batch: bool,

    /// With --batch: end after so many tables [default: until Ctrl-C or SIGTERM]
    #[arg(short, long, value_name = "N", requires = "batch", allow_hyphen_values = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) number: Option<u64>,

    /// With --batch: one JSON object a line instead of tables
    #[arg(long, requires = "batch")]
    pub(super) json: bool,

    #[command(flatten)]
    pub(super) talk: TypedTalk,
}

/// Faster no person reads, and slower it is no live view.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

pub(super) fn top(typed: TypedTop) -> Result<TopOptions, String> {
    let TypedTop { capture: typed, interval, window, batch, number, json, talk: typed_talk } = typed;
    if !INTERVAL.contains(&interval) {
        return Err("--interval: must be from 100ms to 1h".into());
    }
    let talk = talk(typed_talk);
    Ok(TopOptions {
        capture: capture(typed, talk),
        interval,
        window,
        talk,
        batch: batch.then_some(Batch { tables: number, is_json: json }),
    })
}

fn window(text: &str) -> Result<Window, String> {
    match text.trim_end_matches('s').parse() {
        _ if text == "all" => Ok(Window::All),
        Ok(seconds @ 1..=60) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            Ok(Window::Seconds(seconds))
        }
        _ => Err("must be 1 to 60 seconds, or all".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, parse};
    use super::*;
    use crate::colour::Colour;
    use crate::talk::{Talk, Verbosity};

    #[test]
    fn what_is_typed_becomes_what_is_needed() {
        let typed = |args: &str| match parse(
            ["pyprof-bpf", "top"]
                .iter()
                .map(|it| it.to_string())
                .chain(args.split_whitespace().map(str::to_owned))
                .map(Into::into),
        ) {
            Ok(Command::Top(options)) => Some(options),
            _ => None,
        };
        let default = typed("").expect("the defaults");
        assert_eq!(
            (default.interval, default.window, default.batch),
            (Duration::from_secs(1), Window::Seconds(10), None)
        );
        let normal = Talk::default();
        let batch = |tables, is_json| Some(Batch { tables, is_json });
        let rows = [
            ("-b", Some(TopOptions { batch: batch(None, false), ..default.clone() })),
            ("--batch -n 3", Some(TopOptions { batch: batch(Some(3), false), ..default.clone() })),
            ("-b --json", Some(TopOptions { batch: batch(None, true), ..default.clone() })),
            ("-w all", Some(TopOptions { window: Window::All, ..default.clone() })),
            ("-w 60s", Some(TopOptions { window: Window::Seconds(60), ..default.clone() })),
            ("-i 500ms", Some(TopOptions { interval: Duration::from_millis(500), ..default.clone() })),
            (
                "--color never",
                Some(TopOptions { talk: Talk { colour: Colour::Never, ..normal }, ..default.clone() }),
            ),
            (
                "-q",
                Some(TopOptions { talk: Talk { verbosity: Verbosity::Quiet, ..normal }, ..default.clone() }),
            ),
            ("-n 3", None),
            ("--json", None),
            ("-b -n 0", None),
            ("-w 0", None),
            ("-w 61", None),
            ("-w -1", None),
            ("-w +1", None),
            ("-w s", None),
            ("-w 99999999999", None),
            ("-i 99ms", None),
            ("-i 2h", None),
            ("--color", None),
            ("--color red", None),
            ("extra", None),
        ];
        for (args, expected) in rows {
            assert_eq!(typed(args), expected, "{args}");
        }
    }
}
