//! An interpreter of another Debian suite: its packages and all that they depend on, unpacked into a
//! directory. No maintainer script runs, and the packages of this machine stay as they are.
//!
//! It runs by chroot and not through its own `ld.so`, since then the executable of the process would be the
//! loader: a case of its own, and not the one that the row is for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::setup::apt_refresh;
use crate::util::{command, is_root, output};

/// apt's own archive of Debian, as this machine's sources name it.
#[derive(Debug, PartialEq)]
pub(crate) struct Mirror {
    pub(super) uri: String,
    keyring: Option<String>,
}

impl Mirror {
    pub(crate) fn of_this_machine() -> Result<Self> {
        if let Some(mirror) = Self::parse(&index_targets()?) {
            return Ok(mirror);
        }
        // A fresh image has no lists, and then apt does not know whose archive is behind an address.
        apt_refresh();
        Self::parse(&index_targets()?).context("the apt sources of this machine name no mirror of Debian")
    }

    fn parse(targets: &str) -> Option<Self> {
        targets.lines().find_map(|line| match line.split('|').collect::<Vec<_>>()[..] {
            [uri, "Debian", "Debian", "main", keyring] => Some(Self {
                uri: uri.trim_end_matches('/').to_owned(),
                // A field that apt does not know stays as it was written.
                keyring: (keyring.starts_with('/')).then(|| keyring.to_owned()),
            }),
            _ => None,
        })
    }

    fn source(&self, suite: &str) -> String {
        let keyring = self.keyring.as_deref().unwrap_or("/usr/share/keyrings/debian-archive-keyring.gpg");
        format!("deb [signed-by={keyring}] {} {suite} main\n", self.uri)
    }
}

fn index_targets() -> Result<String> {
    let format = "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(SIGNED_BY)";
    output(command("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))
}

/// An apt that knows one suite, has nothing installed, and keeps its state in `dir`.
pub(crate) struct Apt<'a> {
    dir: &'a Path,
    suite: &'static str,
    /// Of another machine than this, as Debian calls it.
    arch: Option<&'static str>,
}

impl<'a> Apt<'a> {
    /// `dir` outlives the tree: the lists of a suite are fetched once.
    pub(crate) fn of_suite(
        dir: &'a Path,
        suite: &'static str,
        arch: Option<&'static str>,
        mirror: &Mirror,
    ) -> Result<Self> {
        let apt = Self { dir, suite, arch };
        if dir.exists() {
            return Ok(apt);
        }
        for directory in ["lists/partial", "cache"] {
            fs::create_dir_all(dir.join(directory)).context("failed to make a place for apt's lists")?;
        }
        fs::write(dir.join("sources.list"), mirror.source(suite)).context("failed to write apt's sources")?;
        fs::write(dir.join("status"), "").context("failed to write apt's status")?;
        apt.configure().context("failed to write apt's configuration")?;
        let updated = apt.get(&["-qq", "update"]);
        if updated.is_err() {
            // Else the next tree would take what little there is for the suite.
            fs::remove_dir_all(dir).context("failed to remove apt's lists")?;
        }
        updated.with_context(|| format!("failed to fetch the package lists of Debian {suite}"))?;
        Ok(apt)
    }

    fn configure(&self) -> std::io::Result<()> {
        let dir = self.dir.display();
        // _apt must not enter the home directory of root; and an update that reached no mirror is an error.
        let text = format!(
            "Dir::State::Lists \"{dir}/lists\";\n\
             Dir::State::status \"{dir}/status\";\n\
             Dir::Etc::SourceList \"{dir}/sources.list\";\n\
             Dir::Etc::SourceParts \"/dev/null\";\n\
             Dir::Cache \"{dir}/cache\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Check-Valid-Until \"false\";\n\
             APT::Install-Recommends \"false\";\n\
             APT::Sandbox::User \"root\";\n\
             APT::Update::Error-Mode \"any\";\n"
        );
        let arch = self.arch.map_or(String::new(), |arch| {
            format!("APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\n")
        });
        fs::write(self.dir.join("apt.conf"), text + &arch)
    }

    fn get(&self, arguments: &[&str]) -> Result<()> {
        let mut apt = command("apt-get");
        output(apt.arg("-c").arg(self.dir.join("apt.conf")).args(arguments)).map(drop)
    }

    /// Every package of the suite whose name begins so.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let mut apt = command("apt-cache");
        let names = output(apt.arg("-c").arg(self.dir.join("apt.conf")).args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// One package without what it depends on, unpacked into `into`.
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        fs::create_dir_all(into).context("failed to make a place for a package")?;
        let mut apt = command("apt-get");
        apt.arg("-c").arg(self.dir.join("apt.conf")).args(["-qq", "download", package]).current_dir(into);
        output(&mut apt).with_context(|| format!("failed to download {package} of Debian {}", self.suite))?;
        for deb in packages_in(into)? {
            output(command("dpkg").arg("-x").arg(&deb).arg(into))
                .with_context(|| format!("failed to unpack {}", deb.display()))?;
            fs::remove_file(&deb).context("failed to remove a package")?;
        }
        Ok(())
    }

    fn download(&self, packages: &[&str], debs: &Path) -> Result<()> {
        fs::create_dir_all(debs.join("partial")).context("failed to make a place for packages")?;
        let archives = format!("Dir::Cache::archives={}", debs.display());
        let mut arguments = vec!["-o", &archives, "-y", "-qq", "-d", "install"];
        arguments.extend(packages);
        self.get(&arguments)
            .with_context(|| format!("failed to download {} of Debian {}", packages.join(", "), self.suite))
    }
}

/// Unpacks the closure of `packages` into `work/root`.
pub(crate) fn fetch(
    suite: &'static str,
    arch: Option<&'static str>,
    packages: &[&str],
    mirror: &Mirror,
    lists: &Path,
    work: &Path,
) -> Result<()> {
    if !is_root() {
        bail!("an interpreter of another suite is run by chroot: this needs root");
    }
    let debs = work.join("debs");
    Apt::of_suite(&lists.join(suite), suite, arch, mirror)?.download(packages, &debs)?;

    let root = work.join("root");
    lay_out(&root).with_context(|| format!("failed to lay out {}", root.display()))?;
    for deb in packages_in(&debs)? {
        output(command("dpkg").arg("-x").arg(&deb).arg(&root))
            .with_context(|| format!("failed to unpack {}", deb.display()))?;
    }
    // `subprocess` and `random` open these.
    for (name, mode, minor) in [("dev/null", "666", "3"), ("dev/urandom", "444", "9")] {
        output(command("mknod").args(["-m", mode]).arg(root.join(name)).args(["c", "1", minor]))?;
    }
    // The separate debug info of a debug build: much of its size, and nothing here reads it.
    match fs::remove_dir_all(root.join("usr/lib/debug")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// A merged /usr: packages put the loader below /usr and programs name it below /.
fn lay_out(root: &Path) -> std::io::Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(Path::new("usr").join(name), root.join(name))?;
    }
    ["proc", "dev", "tmp", "etc"].iter().try_for_each(|name| fs::create_dir(root.join(name)))
}

fn packages_in(debs: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(debs).context("failed to read the downloaded packages")?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_main_archive_of_debian() {
        let check = |targets: &str, expected: Option<(&str, Option<&str>)>| {
            let expected =
                expected.map(|(uri, key)| Mirror { uri: uri.to_owned(), keyring: key.map(str::to_owned) });
            assert_eq!(Mirror::parse(targets), expected, "{targets}");
        };
        let node = "https://deb.nodesource.com/node_20.x/|. nodistro|. nodistro|main|/n.gpg\n";
        let security = "http://m/debian-security/|Debian|Debian-Security|main|$(SIGNED_BY)\n";
        let main = "http://m/debian/|Debian|Debian|main|$(SIGNED_BY)\n";
        check(&format!("{node}{security}{main}"), Some(("http://m/debian", None)));
        check("http://m/debian/|Debian|Debian|main|/k.gpg\n", Some(("http://m/debian", Some("/k.gpg"))));
        // As in an image whose lists were removed.
        check("http://m/debian/|$(ORIGIN)|$(LABEL)|main|$(SIGNED_BY)\n", None);
        check(node, None);
        check("", None);
    }
}
