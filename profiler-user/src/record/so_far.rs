//! One file as it is so far, for SIGUSR1: written while sampling goes on, and anew at the end.

use std::os::unix::ffi::OsStrExt;

use super::early::Earlier;
use super::finish::{described, write_off_cpu};
use super::output::{Destination, Source, write_profiles};
use crate::capture::{CaptureError, Session};
use crate::cli::RecordOptions;
use crate::escape::escape_bytes;
use crate::pipeline::Image;
use crate::profile::Profile;
use crate::sink::ImageNumbers;

/// What is to be said of it. A file that cannot be written now is tried again at the end.
pub fn write(
    session: &mut Session,
    destination: &Destination,
    options: &RecordOptions,
) -> Result<String, CaptureError> {
    let path = match destination {
        Destination::File { file, .. } => escape_bytes(file.path().as_os_str().as_bytes()).into_owned(),
        Destination::Directory(_) | Destination::Stdout => {
            return Ok(
                "SIGUSR1: standard output is written once, at the end; name a file or a directory".into()
            );
        }
    };
    let (meta, account) = session.so_far()?;
    let Session { ingest, follower, .. } = session;
    let meta = described(ingest.images(), &Earlier::default(), follower, (&meta, &account), options);
    let mut images: Vec<&mut Image> =
        ingest.images_mut().iter_mut().filter(|image| image.is_sampled()).collect();
    if images.is_empty() {
        return Ok("SIGUSR1: nothing was sampled yet".into());
    }
    let mut numbers = ImageNumbers::default();
    let (off_cpu, _) = write_off_cpu(&mut images, &meta, destination, options, &mut numbers);
    let profiles: Vec<&Profile> = images.iter().map(|image| &image.profile).collect();
    let written = write_profiles(&profiles, &meta, destination, options, Source::Cpu, &mut numbers);
    Ok(match written.failures.into_iter().chain(off_cpu.failures).next() {
        Some(error) => format!("SIGUSR1: {error}; sampling goes on"),
        None => {
            let noun = if profiles.len() == 1 { "process" } else { "processes" };
            let cpu_ns: u64 = profiles.iter().map(|profile| profile.total().weight_ns).sum();
            let seconds = cpu_ns as f64 / 1e9;
            format!("wrote {path} so far: {} {noun}, {seconds:.1} s of Python CPU", profiles.len())
        }
    })
}
