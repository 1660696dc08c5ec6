//! Tells whoever wants to know how many files there are by now: to write thousands takes a while.

use super::OutputDirectory;
use std::fmt;
use std::sync::Mutex;

/// Called with the number of files after each; with none when that ends.
type Listener = Box<dyn FnMut(Option<usize>) + Send>;

#[derive(Default)]
pub(super) struct Progress(Mutex<(usize, Option<Listener>)>);

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    pub(super) fn one_more(&self) {
        // A listener that panicked is of no use any more.
        let Ok(mut progress) = self.0.lock() else { return };
        progress.0 += 1;
        let files = progress.0;
        if let Some(listener) = &mut progress.1 {
            listener(Some(files));
        }
    }
}

impl OutputDirectory {
    /// From the next file on.
    pub fn listen(&self, listener: impl FnMut(Option<usize>) + Send + 'static) {
        if let Ok(mut progress) = self.progress.0.lock() {
            *progress = (0, Some(Box::new(listener)));
        }
    }

    /// There will be no more of interest.
    pub fn end_listening(&self) {
        if let Ok(mut progress) = self.progress.0.lock()
            && let Some(mut listener) = progress.1.take()
        {
            listener(None);
        }
    }
}
