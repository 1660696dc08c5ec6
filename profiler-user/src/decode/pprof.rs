//! pprof files: ours, and those of other tools.
//!
//! A profile here has two values per sample, one line per frame, and a few known labels. What else a file has is either made
//! into that (inlined lines become frames) or named in [`Left`], so that nothing is left out in silence.

use super::inflate::{inflate, other_format};
use super::pprof_samples::Builder;
use super::pprof_tables::Tables;
use super::{DecodeError, malformed};
use crate::profile::{Loss, Measure, Profile, ValueType};

/// One file.
pub struct Decoded {
    /// One per process that the labels tell apart; one where they tell of none.
    pub profiles: Vec<Profile>,
    pub facts: Facts,
}

/// What a file says beside its samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub sample_types: Vec<ValueType>,
    /// Wall clock of the start; 0 where the file does not say.
    pub start_unix_ns: u64,
    pub duration_ns: u64,
    /// 0 where the period is no time.
    pub frequency_hz: u32,
    /// Of pyprof-bpf, if that wrote the file.
    pub tool_version: Option<String>,
    pub losses: Vec<Loss>,
    /// What else stands in the comments.
    pub comments: Vec<String>,
    pub left: Left,
}

/// What a profile has no place for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Keys of labels, each once.
    pub labels: Vec<String>,
    /// How many more keys there were.
    pub more_labels: usize,
    /// Samples below zero, which only a difference of two profiles has.
    pub negative: u64,
    /// Expressions that hide frames: all frames are shown.
    pub hides_frames: bool,
}

/// Reads a file, compressed or not. `sample_type` by its name, or by name and unit (`cpu/nanoseconds`); without, the one that
/// the file has as its default, which is the last one if it says nothing (google/pprof `proto/profile.proto`).
pub fn pprof(bytes: &[u8], sample_type: Option<&str>) -> Result<Decoded, DecodeError> {
    if let Some(what) = other_format(bytes) {
        return Err(DecodeError::Other(what));
    }
    let message = inflate(bytes)?;
    if let Some(what) = other_format(&message) {
        return Err(DecodeError::Other(what));
    }
    let tables = Tables::read(&message)?;
    let mut facts = facts(&tables)?;
    let chosen = choose(&tables, &facts.sample_types, sample_type)?;
    let count = count_of(&facts.sample_types, chosen);
    let of = |index: usize| facts.sample_types[index].clone();
    let measure = Measure { count: of(count), weight: of(chosen) };
    let is_ours = facts.tool_version.is_some();
    let mut builder = Builder::new(&tables, measure, count, chosen, is_ours);
    builder.read_all(&message)?;
    let mut profiles = builder.finish(&mut facts.left);
    if is_ours {
        take_comments(&mut facts, &mut profiles);
    }
    Ok(Decoded { profiles, facts })
}

fn facts(tables: &Tables<'_>) -> Result<Facts, DecodeError> {
    let value_type = |of: &crate::encode::pprof_schema::ValueType| -> Result<ValueType, DecodeError> {
        let [name, unit] = [of.r#type, of.unit].map(|index| tables.text(index));
        Ok(ValueType { name: name?.into_owned().into(), unit: unit?.into_owned().into() })
    };
    let sample_types: Result<Vec<_>, _> = tables.sample_types.iter().map(value_type).collect();
    let comments: Result<Vec<String>, _> =
        tables.comments.iter().map(|index| tables.text(*index).map(String::from)).collect();
    let mut comments = comments?;
    let version = comments.first().and_then(|first| first.strip_prefix(TOOL)).map(str::to_owned);
    if version.is_some() {
        comments.remove(0);
    }
    let period = tables.period_type.as_ref().map(value_type).transpose()?;
    let period_ns = period.filter(|period| period.unit == "nanoseconds").map_or(0, |_| tables.period);
    let frequency_hz = if period_ns > 0 { (1e9 / period_ns as f64).round() as u32 } else { 0 };
    let left = Left { hides_frames: tables.hides_frames, ..Left::default() };
    Ok(Facts {
        sample_types: sample_types?,
        start_unix_ns: u64::try_from(tables.time_nanos).unwrap_or(0),
        duration_ns: u64::try_from(tables.duration_nanos).unwrap_or(0),
        frequency_hz,
        tool_version: version,
        losses: Vec::new(),
        comments,
        left,
    })
}

fn choose(tables: &Tables<'_>, types: &[ValueType], asked: Option<&str>) -> Result<usize, DecodeError> {
    let named = |name: &str| {
        let is_it = |of: &ValueType| of.name == name || format!("{}/{}", of.name, of.unit) == name;
        types.iter().position(is_it)
    };
    let Some(asked) = asked else {
        let default = tables.text(tables.default_sample_type)?;
        return Ok(named(&default).filter(|_| !default.is_empty()).unwrap_or(types.len() - 1));
    };
    named(asked).ok_or_else(|| DecodeError::NoSampleType {
        asked: asked.into(),
        known: types.iter().map(|of| of.name.as_ref()).collect::<Vec<_>>().join(", "),
    })
}

/// Which values say how many: those beside the chosen ones (`alloc_objects` of `alloc_space`), or the first that are a number;
/// the chosen ones themselves if nothing else is one.
fn count_of(types: &[ValueType], chosen: usize) -> usize {
    let is_count = |index: &usize| types.get(*index).is_some_and(|of| of.unit == "count");
    if is_count(&chosen) {
        return chosen;
    }
    let before = chosen.checked_sub(1).filter(is_count);
    before.or_else(|| (0..types.len()).find(|index| is_count(index))).unwrap_or(chosen)
}

/// How our own files begin their comments; see `encode::pprof`.
const TOOL: &str = "pyprof-bpf ";

/// What our encoder put into comments goes back to where it came from. The rest stays a comment.
fn take_comments(facts: &mut Facts, profiles: &mut [Profile]) {
    let comments = std::mem::take(&mut facts.comments);
    for comment in comments {
        if !take_comment(&comment, facts, profiles) {
            facts.comments.push(comment);
        }
    }
}

fn take_comment(comment: &str, facts: &mut Facts, profiles: &mut [Profile]) -> bool {
    let after = |prefix: &str| comment.strip_prefix(prefix);
    if let Some(version) = after("python: ") {
        // Of several processes the file does not tell whose it is.
        if let [profile] = profiles {
            let process = profile.process_mut();
            process.is_unverified = version.ends_with(" (unverified)");
            process.python_version = version.trim_end_matches(" (unverified)").into();
            return true;
        }
        return false;
    }
    if let Some(rest) = after("process ") {
        let pid = rest.split_once(" is unresponsive").and_then(|(pid, _)| pid.parse::<u32>().ok());
        let of = profiles.iter_mut().find(|profile| Some(profile.process().pid) == pid);
        return of.map(|profile| profile.process_mut().is_unresponsive = true).is_some();
    }
    if let Some(count) = after("loss memory_cap (this process): ").and_then(|count| count.parse().ok()) {
        profiles.iter_mut().take(1).for_each(|profile| profile.add_dropped_samples(count));
        return true;
    }
    if let Some((name, count)) = after("loss ").and_then(|rest| rest.split_once(" (whole capture): ")) {
        let count = count.parse().ok();
        facts.losses.extend(count.map(|count| Loss { name: name.into(), count }));
        return count.is_some();
    }
    // Counted again from the stacks, and from the labels.
    after("outcome ").is_some() || after("processes: ").is_some()
}

/// A position that a sample gives for a type that is not there.
pub(super) fn wrong_values(values: usize, types: usize) -> DecodeError {
    malformed(format!("a sample has {values} values for {types} types"))
}

#[cfg(test)]
#[path = "pprof_tests.rs"]
mod tests;
