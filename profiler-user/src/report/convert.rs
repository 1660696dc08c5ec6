//! What was read, as one file: merged, filtered, or in another format.

use super::input::{Loaded, load};
use super::run::{Output, tell};
use super::set::{OF_OTHERS, head, left};
use super::{ReportError, ReportOptions, Write};
use crate::encode::{Choices, encode};
use crate::escape::escape;
use crate::profile::{CaptureMeta, Profile};
use crate::sink::{OutputFile, Owner, write_to_stdout};
use std::io::{self, Write as _};

pub(super) fn write(options: &ReportOptions, to: &Write) -> Result<Output, ReportError> {
    // A place that cannot be written to is found before hundreds of files are read.
    let place = to.path.as_deref().map(|path| OutputFile::create(path, Owner::from_sudo())).transpose()?;
    let loaded = load(&options.inputs, options.sample_type.as_deref(), options.talk);
    let capture = capture(&loaded);
    let Loaded { files, mut profiles, failures, mut notes, .. } = loaded;
    notes.extend(left(&files));
    let (failed, all) = (failures.len(), failures.len() + files.len());
    tell(&failures, &notes, options.talk);
    files.iter().for_each(|file| options.talk.detail(&file.told()));
    if files.is_empty() {
        return Ok((String::new(), failed, all));
    }
    profiles.iter_mut().for_each(|profile| options.select.apply(profile));
    let profiles: Vec<&Profile> = profiles.iter().filter(|profile| is_used(profile)).collect();
    if profiles.is_empty() {
        return Err(ReportError::Nothing);
    }
    let is_gzip =
        to.path.as_ref().is_some_and(|path| path.to_string_lossy().to_ascii_lowercase().ends_with(".gz"));
    let timeline = profiles.iter().any(|profile| profile.moments().is_some_and(|all| !all.is_empty()));
    let choices = Choices { timeline, gzip: is_gzip };
    match place {
        Some(place) => {
            place.write_with(|file| {
                let mut buffered = io::BufWriter::new(file);
                encode(to.format, &profiles, &capture, choices, &mut buffered)?;
                buffered.flush()
            })?;
            let (name, count) = (to.format.name(), files.len());
            let path = super::input::shown(place.path());
            let noun = if count == 1 { "file" } else { "files" };
            tell(&[], &[format!("wrote {path}: {name}, from {count} {noun}")], options.talk);
        }
        None => write_to_stdout(|stdout| encode(to.format, &profiles, &capture, choices, stdout))?,
    }
    Ok((String::new(), failed, all))
}

fn is_used(profile: &Profile) -> bool {
    profile.samples().len() > 0 || profile.dropped().samples > 0
}

/// One capture that stands for all that were read.
fn capture(loaded: &Loaded) -> CaptureMeta {
    let head = head(loaded);
    let mut notes = head.comments;
    if head.losses.is_none() && !notes.iter().any(|note| note == OF_OTHERS) {
        notes.push(OF_OTHERS.into());
    }
    let notes = notes.iter().map(|note| escape(note).into_owned()).collect();
    CaptureMeta {
        tool_version: env!("CARGO_PKG_VERSION").into(),
        host: head.host,
        start_unix_ns: head.start_unix_ns,
        // Times were read as those of the wall clock.
        start_monotonic_ns: head.start_unix_ns,
        duration_ns: head.duration_ns,
        frequency_hz: head.frequency_hz,
        losses: head.losses.unwrap_or_default(),
        notes,
        ..CaptureMeta::default()
    }
}
