//! Debian packages: what is there, what can be had, and getting it with as few privileges as it takes.

use anyhow::{Context, Result, bail};

use crate::util::{as_root, command, display, output, run, which};

/// Whether dpkg has the package, fully installed.
pub(super) fn is_installed(package: &str) -> bool {
    output(command("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Whether the package lists of this machine offer the package; false without apt.
pub(super) fn is_offered(package: &str) -> bool {
    output(command("apt-cache").args(["policy", package])).is_ok_and(|policy| has_candidate(&policy))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|name| name.trim() != "(none)")
}

/// Refreshes the package lists; worth it only when something is missing from them, as on a fresh container.
pub(super) fn update() -> Result<()> {
    run(as_root("apt-get")?.args(["-q", "update"])).context("failed to refresh the package lists")
}

/// Installs what is missing of `packages`; an error names the command that would have done it.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install {}", missing.join(" "));
    if which("apt-get").is_none() {
        bail!("missing: {}; there is no apt-get here, install their equivalents by hand", missing.join(", "));
    }
    let install = || -> Result<()> {
        // `env` and not a variable of ours: sudo does not hand our environment on.
        let mut apt = as_root("env").with_context(|| format!("missing packages: run `{by_hand}` as root"))?;
        apt.args([
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "install",
            "-q",
            "-y",
            "--no-install-recommends",
        ]);
        eprintln!("Installing {}", missing.join(", "));
        run(apt.args(&missing)).with_context(|| format!("failed: {}", display(&apt)))
    };
    if missing.iter().all(|package| is_offered(package)) && install().is_ok() {
        return Ok(());
    }
    // Old lists name versions that the mirror has dropped, and a fresh container has no lists.
    update()?;
    if let Some(package) = missing.iter().find(|package| !is_offered(package)) {
        bail!("apt offers no package {package} here; needed: `{by_hand}`");
    }
    install().with_context(|| format!("failed to install packages; by hand: `{by_hand}`"))
}

#[cfg(test)]
mod tests {
    use super::has_candidate;

    #[test]
    fn a_package_is_offered_when_apt_names_a_candidate() {
        let check = |policy: &str, offered| assert_eq!(has_candidate(policy), offered, "{policy}");
        check("rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n", true);
        check("rustc-web:\n  Installed: (none)\n  Candidate: (none)\n", false);
        check("", false);
    }
}
