//! Debian packages: what is there, what can be had, and getting it with as few privileges as it takes.

use std::sync::Once;

use anyhow::{Context, Result, bail};
use pyprof_host::mark::MARK;

use crate::util::{as_root, command, output, run, which};

/// Whether dpkg has the package, fully installed.
pub(super) fn is_installed(package: &str) -> bool {
    output(command("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// The version of a package that is installed.
pub(crate) fn version(package: &str) -> Result<String> {
    Ok(output(command("dpkg-query").args(["-W", "-f", "${Version}", package]))?.trim().to_owned())
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

/// Installs what is missing of `packages`; an error names the command that would have done it.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() { Ok(()) } else { install_newest(&missing) }
}

/// Installs `packages`, or brings them to the version that apt prefers.
pub(super) fn install_newest(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get update && apt-get install {}", packages.join(" "));
    if which("apt-get").is_none() {
        bail!("needed: {}; there is no apt-get here, install their equivalents by hand", packages.join(", "));
    }
    eprintln!("  installing {}", packages.join(", "));
    refresh();
    if let Some(package) = packages.iter().find(|package| !is_offered(package)) {
        bail!("apt offers no package {package} here; needed: `{by_hand}`");
    }
    // `env` and not a variable of ours: sudo does not hand our environment on. Should this run be killed, then nobody ends an
    // installation half-way: it does not carry the mark.
    let mut apt = as_root("env").with_context(|| format!("needed, as root: `{by_hand}`"))?;
    apt.args([
        "-u",
        MARK,
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-q",
        "-y",
        "--no-install-recommends",
    ]);
    run(apt.args(packages)).with_context(|| format!("needed: `{by_hand}`"))
}

/// Refreshes the package lists, once. Old ones name versions that the mirror has dropped, and those of a
/// fresh image may lack the security suite, where the recent compiler is. Without a network the old lists
/// have to do.
pub(crate) fn refresh() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let update = as_root("apt-get").and_then(|mut apt| run(apt.args(["-q", "update"])));
        if let Err(error) = update {
            eprintln!("  going on with the package lists that are there: {error:#}");
        }
    });
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
