//! Processes that have ended, written while the capture goes on, so that its memory does not grow with all that ever ran.
//!
//! Only when memory is getting short: what is written at the end has the whole account in its comments. Of a process that
//! was written there stay a line for `capture.json`, in a file without a name, and what the summary shows.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::finish::{write_off_cpu, written_names};
use super::output::{Destination, Source, Written, write_profiles};
use crate::capture_json;
use crate::cli::RecordOptions;
use crate::pipeline::Image;
use crate::profile::{CaptureMeta, Profile, Total};
use crate::sink::{ImageNumbers, OutputDirectory, SinkError};
use crate::summary::Shown;

/// What is left of the processes that were written.
#[derive(Default)]
pub struct Earlier {
    pub shown: Shown,
    /// What they have in the account.
    pub total: Total,
    pub dropped: Total,
    pub processes: usize,
    /// Files that were to be written.
    pub number: usize,
    pub failed: usize,
    pub first: Option<SinkError>,
    /// A line per process, as `capture.json` has it.
    lines: Option<File>,
    pub numbers: ImageNumbers,
}

impl Earlier {
    /// The lines from the first on.
    pub fn lines(&self) -> io::Result<Option<BufReader<File>>> {
        use std::io::Seek;
        let Some(lines) = &self.lines else { return Ok(None) };
        let mut lines = lines.try_clone()?;
        lines.rewind()?;
        Ok(Some(BufReader::new(lines)))
    }

    fn add(
        &mut self,
        images: &mut [Image],
        meta: &CaptureMeta,
        directory: &Arc<OutputDirectory>,
        options: &RecordOptions,
    ) -> Result<(), SinkError> {
        let destination = Destination::Directory(directory.clone());
        let mut each: Vec<&mut Image> = images.iter_mut().collect();
        let (off_cpu, _) = write_off_cpu(&mut each, meta, &destination, options, &mut self.numbers.clone());
        let profiles: Vec<&Profile> = images.iter().map(|image| &image.profile).collect();
        let Written { files, number, mut failures } =
            write_profiles(&profiles, meta, &destination, options, Source::Cpu, &mut self.numbers);
        let files = written_names(files);
        failures.extend(off_cpu.failures);
        self.number += number + off_cpu.number;
        self.failed += failures.len();
        if self.first.is_none() {
            self.first = failures.into_iter().next();
        }
        self.processes += profiles.len();
        if self.lines.is_none() {
            self.lines = Some(directory.nameless_file()?);
        }
        let mut text = Vec::new();
        for (profile, file) in profiles.into_iter().zip(&files) {
            self.total.merge(profile.total());
            self.dropped.merge(profile.dropped());
            self.shown.add(profile, file.as_deref());
            capture_json::line(meta, profile, file.as_deref(), &mut text);
        }
        let error = |source| directory.error(capture_json::FILE_NAME, source);
        self.lines.as_mut().map_or(Ok(()), |lines| lines.write_all(&text)).map_err(error)
    }
}

/// Writes them beside the loop.
pub struct Early {
    directory: Arc<OutputDirectory>,
    options: Arc<RecordOptions>,
    earlier: Option<Earlier>,
    writing: Option<JoinHandle<Earlier>>,
}

impl Early {
    pub fn new(directory: Arc<OutputDirectory>, options: Arc<RecordOptions>) -> Early {
        Early { directory, options, earlier: Some(Earlier::default()), writing: None }
    }

    /// Whether processes may be written on their own, and none is being written.
    pub fn is_ready(&mut self) -> bool {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return false;
        }
        self.join();
        self.options.merge_by.is_none()
    }

    pub fn begin(&mut self, mut images: Vec<Image>, meta: &CaptureMeta) {
        let Some(mut earlier) = self.earlier.take() else { return };
        let (directory, options, meta) = (self.directory.clone(), self.options.clone(), meta.clone());
        self.writing = Some(std::thread::spawn(move || {
            if let Err(error) = earlier.add(&mut images, &meta, &directory, &options) {
                earlier.failed += 1;
                earlier.first.get_or_insert(error);
            }
            earlier
        }));
    }

    fn join(&mut self) {
        if let Some(writing) = self.writing.take() {
            // A thread that panicked has said so; what it knew is gone.
            self.earlier = Some(writing.join().unwrap_or_default());
        }
    }

    /// All that was written, at the end.
    pub fn end(&mut self) -> Earlier {
        self.join();
        self.earlier.take().unwrap_or_default()
    }
}
