//! An initramfs: a cpio archive in the `newc` format (Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`), with
//! files at the paths that they have here, and every symbolic link that leads to them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

/// `S_IFDIR` and so on (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTERS: u32 = 0o020_000;
/// A chain of links is no longer.
const MAX_LINKS: u32 = 40;

pub(super) struct Archive {
    out: BufWriter<File>,
    written: u64,
    inode: u32,
    there: BTreeSet<PathBuf>,
}

impl Archive {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self { out: BufWriter::new(file), written: 0, inode: 0, there: BTreeSet::new() })
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> std::io::Result<()> {
        self.put(&[0; 3][..(4 - self.written % 4) as usize % 4])
    }

    fn entry(&mut self, name: &str, mode: u32, mtime: u32, device: (u32, u32), data: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(data.len()).with_context(|| format!("{name} is too large"))?;
        // Fields: inode, mode, owner, group, links, time, size, device of the file, device that it is, name, checksum.
        let fields =
            [self.inode, mode, 0, 0, 1, mtime, size, 0, 0, device.0, device.1, name.len() as u32 + 1, 0];
        let mut head = String::from("070701");
        fields.iter().for_each(|field| head.push_str(&format!("{field:08x}")));
        let write = |archive: &mut Self| {
            archive.put(head.as_bytes())?;
            archive.put(name.as_bytes())?;
            archive.put(&[0])?;
            archive.align()?;
            archive.put(data)?;
            archive.align()
        };
        write(self).with_context(|| format!("failed to write {name}"))
    }

    /// The name of an absolute path in the archive, if it is not there yet.
    fn new_name(&mut self, path: &Path) -> Result<Option<String>> {
        if path == Path::new("/") || !self.there.insert(path.to_owned()) {
            return Ok(None);
        }
        let name = path.strip_prefix("/").ok().and_then(Path::to_str);
        Ok(Some(name.with_context(|| format!("{} is no plain absolute path", path.display()))?.to_owned()))
    }

    pub(super) fn directory(&mut self, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        match self.new_name(path)? {
            Some(name) => self.entry(&name, DIRECTORY | 0o755, 0, (0, 0), &[]),
            None => Ok(()),
        }
    }

    /// A file with this content.
    pub(super) fn bytes(&mut self, path: &Path, mode: u32, mtime: u32, data: &[u8]) -> Result<()> {
        self.directory(path.parent().unwrap_or(path))?;
        match self.new_name(path)? {
            Some(name) => self.entry(&name, FILE | mode, mtime, (0, 0), data),
            None => Ok(()),
        }
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &Path, target: &Path) -> Result<()> {
        self.directory(path.parent().unwrap_or(path))?;
        let target = target.to_str().context("a link is not UTF-8")?;
        match self.new_name(path)? {
            Some(name) => self.entry(&name, LINK | 0o777, 0, (0, 0), target.as_bytes()),
            None => Ok(()),
        }
    }

    /// A character device.
    pub(super) fn device(&mut self, path: &Path, major: u32, minor: u32) -> Result<()> {
        self.directory(path.parent().unwrap_or(path))?;
        match self.new_name(path)? {
            Some(name) => self.entry(&name, CHARACTERS | 0o600, 0, (major, minor), &[]),
            None => Ok(()),
        }
    }

    /// A file or directory of this machine, at its own path; links on the way come along.
    pub(super) fn add(&mut self, path: &Path) -> Result<()> {
        let mut at = PathBuf::from("/");
        let mut rest: Vec<PathBuf> = Vec::new();
        push_components(&mut rest, path);
        let mut links = 0;
        while let Some(next) = rest.pop() {
            if next == Path::new("..") {
                at.pop();
                continue;
            }
            at.push(&next);
            let meta =
                fs::symlink_metadata(&at).with_context(|| format!("failed to look at {}", at.display()))?;
            if meta.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    bail!("{} is a circle of links", path.display());
                }
                let target = fs::read_link(&at)?;
                let text = target.to_str().context("a link is not UTF-8")?;
                if let Some(name) = self.new_name(&at)? {
                    self.entry(&name, LINK | 0o777, 0, (0, 0), text.as_bytes())?;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                } else {
                    at.pop();
                }
                push_components(&mut rest, &target);
            } else if meta.is_dir() {
                self.directory(&at)?;
            } else {
                let data = fs::read(&at).with_context(|| format!("failed to read {}", at.display()))?;
                self.bytes(&at, meta.permissions().mode() & 0o777, meta.mtime() as u32, &data)?;
            }
        }
        Ok(())
    }

    /// All files below a directory that `wanted` takes; links among them as links.
    pub(super) fn tree(&mut self, directory: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<()> {
        let entries =
            fs::read_dir(directory).with_context(|| format!("failed to read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if !wanted(&path) {
                continue;
            }
            if fs::symlink_metadata(&path)?.is_dir() {
                self.tree(&path, wanted)?;
            } else if path.exists() {
                self.add(&path)?;
            }
        }
        Ok(())
    }

    /// Its size, bytes.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.entry("TRAILER!!!", 0, 0, (0, 0), &[])?;
        self.out.flush().context("failed to write the archive")?;
        Ok(self.written)
    }
}

/// The components of `path`, last first, so that the next one is popped.
fn push_components(rest: &mut Vec<PathBuf>, path: &Path) {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    });
    rest.extend(names);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_on_the_way_come_along_and_everything_is_there_once() {
        let dir = std::env::temp_dir().join(format!("pyprof-archive-{}", std::process::id()));
        fs::create_dir_all(dir.join("real/sub")).unwrap();
        fs::write(dir.join("real/sub/file"), "text").unwrap();
        symlink("real", dir.join("link")).unwrap();
        symlink("../real/sub/file", dir.join("real/other")).unwrap();
        let path = dir.join("archive");
        let mut archive = Archive::create(&path).unwrap();
        archive.add(&dir.join("link/other")).unwrap();
        archive.add(&dir.join("link/sub/file")).unwrap();
        archive.device(Path::new("/dev/console"), 5, 1).unwrap();
        let size = archive.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len() as u64, size % 4), (size, 0));
        // An independent reader of the format.
        let mut names = Vec::new();
        let mut at = 0;
        loop {
            let field = |index: usize| {
                let start = at + 6 + index * 8;
                usize::from_str_radix(std::str::from_utf8(&bytes[start..start + 8]).unwrap(), 16).unwrap()
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, name) = (field(1), field(6), field(11));
            let data = (at + 110 + name).next_multiple_of(4);
            let name = String::from_utf8(bytes[at + 110..at + 110 + name - 1].to_vec()).unwrap();
            at = (data + size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                break;
            }
            names.push((name, mode as u32 & 0o170_000, bytes[data..data + size].to_vec()));
        }
        let base = dir.strip_prefix("/").unwrap().to_str().unwrap();
        let find = |name: &str| {
            let found: Vec<_> = names.iter().filter(|(other, ..)| *other == name).collect();
            assert_eq!(found.len(), 1, "{name}");
            (found[0].1, found[0].2.as_slice())
        };
        assert_eq!(find(&format!("{base}/link")), (LINK, &b"real"[..]));
        assert_eq!(find(&format!("{base}/real/other")), (LINK, &b"../real/sub/file"[..]));
        assert_eq!(find(&format!("{base}/real/sub/file")), (FILE, &b"text"[..]));
        assert_eq!(find(&format!("{base}/real/sub")), (DIRECTORY, &b""[..]));
        assert_eq!(find("dev/console"), (CHARACTERS, &b""[..]));
        fs::remove_dir_all(&dir).unwrap();
    }
}
