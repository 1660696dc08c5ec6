//! Which kernels, and where each comes from: Debian's own builds for virtual machines, which have what qemu shows them
//! built in. Fetched once into the cache, below the name of the series.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::arch::Arch;
use crate::interpreters::debian::{Apt, Mirror};
use crate::util::{cache_dir, output};

pub(super) struct Series {
    /// What `--only` takes, and how the release begins.
    pub(super) name: &'static str,
    suite: &'static str,
}

/// Oldest first. The first has no `bpf_loop` (5.17), and the kernel of an old stable release is what hosts run for years.
pub(super) const SERIES: [Series; 5] = [
    Series { name: "5.10", suite: "bullseye" },
    Series { name: "6.1", suite: "bookworm" },
    Series { name: "6.12", suite: "trixie" },
    Series { name: "6.18", suite: "trixie-backports" },
    Series { name: "7", suite: "sid" },
];

pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) image: PathBuf,
}

const PACKAGE: &str = "linux-image-";
const BINARY: &str = "linux-binary-";
const IMAGE: &str = "vmlinuz-";

impl Series {
    /// From the cache, or fetched.
    pub(super) fn kernel(&'static self, arch: &'static Arch) -> Result<Kernel> {
        let kernels = cache_dir()?.join(arch.directory("kernels"));
        let place = kernels.join(self.name);
        if !place.exists() {
            self.fetch(arch, &kernels, &place).with_context(|| {
                format!("failed to fetch kernel {} from Debian {}", self.name, self.suite)
            })?;
        }
        let image = image_in(&place)?;
        let name = image.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let release = name.strip_prefix(IMAGE).unwrap_or(&name).to_owned();
        Ok(Kernel { release, image })
    }

    fn fetch(&self, arch: &Arch, kernels: &Path, place: &Path) -> Result<()> {
        eprintln!("  fetching kernel {} of Debian {}", self.name, self.suite);
        let work = kernels.join(format!(".{}.{}", self.name, std::process::id()));
        let lists = work.join("lists");
        fs::create_dir_all(&work).with_context(|| format!("failed to make {}", work.display()))?;
        let fetched = || -> Result<()> {
            let of_debian = Some(arch.debian).filter(|_| !arch.is_ours());
            let apt = Apt::of_suite(&lists, self.suite, of_debian, &Mirror::of_this_machine()?)?;
            let package = newest(self.name, arch.flavour, apt.names(PACKAGE)?)
                .with_context(|| format!("no {PACKAGE}{}*{} there", self.name, arch.flavour))?;
            let root = work.join("root");
            apt.unpack(&package, &root)?;
            let boot = root.join("boot");
            if boot.exists() {
                return fs::rename(boot, place).context("failed to keep the kernel");
            }
            // From 7.x on: a package of its own, and a file without a release in its name.
            apt.unpack(&package.replacen(PACKAGE, BINARY, 1), &root)?;
            let release = package.trim_start_matches(PACKAGE);
            let image = root.join("usr/lib/modules").join(release).join("vmlinuz");
            fs::create_dir(&boot)?;
            fs::rename(image, boot.join(format!("{IMAGE}{release}"))).context("the package has no kernel")?;
            fs::rename(boot, place).context("failed to keep the kernel")
        };
        let outcome = fetched();
        // Modules and lists: large, and of no more use.
        fs::remove_dir_all(&work).with_context(|| format!("failed to remove {}", work.display()))?;
        outcome
    }
}

fn image_in(place: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(place).with_context(|| format!("failed to read {}", place.display()))?;
    let mut names = entries.flatten().map(|entry| entry.path());
    names
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(IMAGE)))
        .with_context(|| format!("{} holds no kernel: remove it", place.display()))
}

/// The package of the highest release of a series, by number.
fn newest(series: &str, flavour: &str, names: Vec<String>) -> Option<String> {
    let numbers = |name: &str| -> Option<Vec<u32>> {
        let release = name.strip_prefix(PACKAGE)?.strip_suffix(flavour)?;
        let rest = release.strip_prefix(series)?;
        let numbers =
            |text: &str| text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        rest.starts_with('.').then(|| numbers(release))
    };
    names.into_iter().filter(|name| numbers(name).is_some()).max_by_key(|name| numbers(name))
}

/// The emulator, installed if it is missing.
pub(super) fn qemu(arch: &Arch) -> Result<PathBuf> {
    let Arch { qemu, qemu_package, .. } = arch;
    if crate::util::which(qemu).is_none() {
        crate::setup::apt_install(&[qemu_package])?;
    }
    let Some(qemu) = crate::util::which(qemu) else { bail!("{qemu} is not on PATH") };
    output(crate::util::command(&qemu).arg("--version")).context("the emulator does not run")?;
    Ok(qemu)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAVOUR: &str = "-cloud-amd64";

    #[test]
    fn the_newest_release_of_a_series_is_taken_by_number() {
        let names = ["6.1.0-47", "6.1.0-9", "6.12.94+deb13", "6.12.107+deb13", "5.10.0-32"];
        let names = || -> Vec<String> {
            let of = |release| format!("{PACKAGE}{release}{FLAVOUR}");
            let unsigned = |release| format!("{PACKAGE}{release}{FLAVOUR}-unsigned");
            names.iter().flat_map(|release| [of(release), unsigned(release)]).collect()
        };
        let check = |series, expected: Option<&str>| {
            let expected = expected.map(|release| format!("{PACKAGE}{release}{FLAVOUR}"));
            assert_eq!(newest(series, FLAVOUR, names()), expected, "{series}");
        };
        check("6.1", Some("6.1.0-47"));
        check("6.12", Some("6.12.107+deb13"));
        check("5.10", Some("5.10.0-32"));
        check("5.1", None);
        check("7", None);
    }
}
