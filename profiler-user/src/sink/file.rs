//! One output file, or standard output. A file that was there is replaced when the new one is whole, and not before.

use super::place::{Existing, Owner, SinkError, open_directory, shown, write_renamed};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Temporary names that are tried: one is left behind by a profiler that was killed while it wrote.
const TRIES: u32 = 16;

/// A place for one file.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    directory: File,
    name: CString,
    owner: Option<Owner>,
}

impl OutputFile {
    /// Looks whether `path` can become a file, so that a capture is not made for nothing.
    pub fn create(path: &Path, owner: Option<Owner>) -> Result<Self, SinkError> {
        let error = |source| SinkError::Write { path: shown(path), source };
        let invalid = || error(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
        let name = path.file_name().filter(|name| !name.is_empty()).ok_or_else(invalid)?;
        let name = CString::new(name.as_bytes()).map_err(|_| invalid())?;
        let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let directory = open_directory(parent).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOTDIR | libc::ELOOP) => SinkError::NotADirectory { path: shown(parent) },
            _ => SinkError::Open { path: shown(parent), source },
        })?;
        // SAFETY: the descriptor is open and the name ends in NUL.
        if unsafe { libc::faccessat(directory.as_raw_fd(), c".".as_ptr(), libc::W_OK, libc::AT_EACCESS) } != 0
        {
            return Err(error(io::Error::last_os_error()));
        }
        match kind(&directory, &name).map_err(error)? {
            None | Some(libc::S_IFREG) => Ok(Self { path: path.into(), directory, name, owner }),
            Some(_) => Err(SinkError::NotAFile { path: shown(path) }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A failure leaves what was there before.
    pub fn write_with(&self, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), SinkError> {
        let Self { path, directory, name, owner } = self;
        let error = |source| SinkError::Write { path: shown(path), source };
        let pid = std::process::id();
        let free = (0..TRIES).map(|number| format!(".pyprof-{pid}-{number}.tmp")).find(|name| {
            CString::new(name.as_str()).is_ok_and(|name| matches!(kind(directory, &name), Ok(None)))
        });
        let taken = || error(io::Error::new(io::ErrorKind::AlreadyExists, "every temporary name is taken"));
        let temporary = free.and_then(|name| CString::new(name).ok()).ok_or_else(taken)?;
        write_renamed(directory, *owner, &temporary, name, Existing::Goes, fill).map_err(error)
    }
}

/// `S_IFMT` of what has this name, not of what it points to.
fn kind(directory: &File, name: &CString) -> io::Result<Option<libc::mode_t>> {
    // SAFETY: `stat` is plain integers.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let (fd, flags) = (directory.as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: the descriptor is open, the name ends in NUL, and the struct is ours.
    if unsafe { libc::fstatat(fd, name.as_ptr(), &mut stat, flags) } == 0 {
        return Ok(Some(stat.st_mode & libc::S_IFMT));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        error => Err(error),
    }
}

/// Everything to standard output.
pub fn write_to_stdout(
    fill: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>,
) -> Result<(), SinkError> {
    let mut stdout = io::stdout().lock();
    fill(&mut stdout)
        .and_then(|()| stdout.flush())
        .map_err(|source| SinkError::Write { path: "standard output".into(), source })
}

/// Whether this is where results go that are to be piped.
pub fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == OsStr::new("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    /// A directory of its own for each test, gone afterwards.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pyprof-file-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap().flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_private_or_not_at_all() {
        let scratch = Scratch::new("replaced");
        let path = scratch.0.join("x.html");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let file = OutputFile::create(&path, None).unwrap();
        let failed = file.write_with(|file| {
            file.write_all(b"half")?;
            Err(io::Error::other("enough"))
        });
        assert!(failed.unwrap_err().to_string().contains("enough"));
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), scratch.names().len()), ("old", 1));
        // What a killed profiler with our pid left is passed by.
        fs::write(scratch.0.join(format!(".pyprof-{}-0.tmp", std::process::id())), "stale").unwrap();
        file.write_with(|file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(scratch.names().len(), 2);
    }

    #[test]
    fn links_and_what_is_no_file_are_refused_before_anything_is_written() {
        let scratch = Scratch::new("refused");
        let inside = |name: &str| scratch.0.join(name);
        fs::write(inside("precious"), "precious").unwrap();
        fs::create_dir(inside("d.html")).unwrap();
        symlink(inside("precious"), inside("link.html")).unwrap();
        symlink("nowhere", inside("dangling.html")).unwrap();
        symlink(&scratch.0, inside("way")).unwrap();
        let rows = [
            ("d.html", "not a regular file"),
            ("link.html", "not a regular file"),
            ("dangling.html", "not a regular file"),
            ("way/x.html", "symbolic link"),
            ("precious/x.html", "not a directory"),
            ("none/x.html", "failed to open directory"),
            ("..", "not the name of a file"),
        ];
        for (name, expected) in rows {
            let error = OutputFile::create(&inside(name), None).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        // A link that is put there meanwhile is replaced, not followed.
        let file = OutputFile::create(&inside("late.html"), None).unwrap();
        symlink(inside("precious"), inside("late.html")).unwrap();
        file.write_with(|file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(inside("precious")).unwrap(), "precious");
        assert!(fs::symlink_metadata(inside("late.html")).unwrap().is_file());
    }
}
