//! Which interpreters there are to have, as data: a tree is fetched or built as one, a row is a way to run
//! what is in it.

use serde::{Deserialize, Serialize};

/// A directory of the cache.
pub(super) struct Tree {
    pub(super) name: &'static str,
    pub(super) how: How,
}

/// Its `Debug` form is what a tree is recognised by: a change of a row makes the tree stale.
#[derive(Debug)]
pub(super) enum How {
    /// Packages of another Debian suite with all that they depend on, run by chroot.
    Closure { suite: &'static str, packages: &'static [&'static str], hosts: &'static [Host] },
    /// The source of a release, configured, built and installed.
    Source { tarball: Tarball, cc: Option<&'static str>, configure: &'static [&'static str] },
}

/// A file below `pool/` of the Debian mirror. A suite's index forgets a version before the mirror does, so
/// that the file is named by its hash (that of Debian's or Ubuntu's signed index) and not by a suite.
#[derive(Debug)]
pub(super) struct Tarball {
    pub(super) path: &'static str,
    pub(super) sha256: &'static str,
}

/// A C program that is linked with a Python of the tree, and put next to it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) program: &'static str,
    pub(super) minor: u32,
    pub(super) library: Library,
    pub(super) flags: &'static [&'static str],
    pub(super) finish: Finish,
}

#[derive(Debug, PartialEq)]
pub(super) enum Library {
    Shared,
    Archive,
    /// Position-independent.
    PicArchive,
}

/// What is taken away from the linked program.
#[derive(Debug)]
pub(super) enum Finish {
    Nothing,
    Symbols,
    SymbolsAndSectionHeaders,
}

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) tree: &'static str,
    /// Below the root of the tree.
    pub(super) program: &'static str,
    pub(super) minor: u32,
    pub(super) kind: Kind,
    pub(super) runtime: Runtime,
    pub(super) libc: Libc,
    pub(super) pie: bool,
    pub(super) env: &'static [(&'static str, &'static str)],
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Release,
    Debug,
    FreeThreaded,
    Jit,
    Pypy,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Runtime {
    InExecutable,
    InLibrary,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Libc {
    Glibc,
    Musl,
    /// Linked in.
    Static,
}

use Kind::{Debug as Dbg, FreeThreaded, Jit, Pypy, Release};
use Library::{Archive, PicArchive, Shared};
use Runtime::{InExecutable, InLibrary};

const fn shared(program: &'static str, minor: u32) -> Host {
    // The library wants a newer C library than the one that the linker knows.
    Host { program, minor, library: Shared, flags: &["-Wl,--allow-shlib-undefined"], finish: Finish::Nothing }
}

const fn host(
    program: &'static str,
    minor: u32,
    library: Library,
    flags: &'static [&'static str],
    finish: Finish,
) -> Host {
    Host { program, minor, library, flags, finish }
}

const FREE_THREADED: &[&str] = &["--disable-gil", "--disable-test-modules", "--without-ensurepip"];
const PLAIN: &[&str] = &["--disable-test-modules", "--without-ensurepip"];

const fn closure(
    name: &'static str,
    suite: &'static str,
    packages: &'static [&'static str],
    hosts: &'static [Host],
) -> Tree {
    Tree { name, how: How::Closure { suite, packages, hosts } }
}

/// Debian's libpython3.14.a lacks what host.c then stands in for.
const EXEC_14: &[&str] = &["-no-pie", "-DWITHOUT_HACL"];
const STATIC_14: &[&str] = &["-static", "-no-pie", "-DWITHOUT_HACL"];

/// In the order of their cost. `libc-bin` has the C.UTF-8 locale of the C library.
pub(super) const TREES: &[Tree] = &[
    closure(
        "sid-3.14",
        "sid",
        &["python3.14-minimal", "libpython3.14-stdlib", "libpython3.14", "libc-bin"],
        &[shared("usr/bin/python3.14-shared", 14)],
    ),
    closure(
        "sid-3.15",
        "sid",
        &["python3.15-minimal", "libpython3.15-stdlib", "libpython3.15", "libc-bin"],
        &[shared("usr/bin/python3.15-shared", 15)],
    ),
    closure("sid-3.13", "sid", &["python3.13-minimal", "libpython3.13-stdlib", "libc-bin"], &[]),
    closure("trixie-3.13", "trixie", &["python3.13-minimal", "libpython3.13-stdlib", "libc-bin"], &[]),
    closure("bookworm-3.11-dbg", "bookworm", &["python3.11-dbg", "libc-bin"], &[]),
    closure("trixie-3.13-dbg", "trixie", &["python3.13-dbg", "libc-bin"], &[]),
    closure("sid-3.14-dbg", "sid", &["python3.14-dbg", "libc-bin"], &[]),
    closure("sid-3.15-dbg", "sid", &["python3.15-dbg", "libc-bin"], &[]),
    closure(
        "embedded-3.11",
        "bookworm",
        &["libpython3.11-dev", "python3.11-minimal", "libc6-dev", "libc-bin"],
        &[
            host("usr/bin/embedded", 11, Archive, &["-no-pie"], Finish::Nothing),
            host("usr/bin/stripped", 11, Archive, &["-no-pie"], Finish::Symbols),
            host("usr/bin/nosections", 11, Archive, &["-no-pie"], Finish::SymbolsAndSectionHeaders),
            host("usr/bin/pie", 11, PicArchive, &["-pie"], Finish::Nothing),
            host("usr/bin/static", 11, Archive, &["-static", "-no-pie"], Finish::Nothing),
            host("usr/bin/static-pie", 11, PicArchive, &["-static-pie"], Finish::Nothing),
        ],
    ),
    // No PIE here: what binutils 2.40 links with libpython3.14-pic.a dies at its start.
    closure(
        "embedded-3.14",
        "sid",
        &["libpython3.14-dev", "python3.14-minimal", "libc6-dev", "libc-bin"],
        &[
            host("usr/bin/embedded", 14, Archive, EXEC_14, Finish::Nothing),
            host("usr/bin/stripped", 14, Archive, EXEC_14, Finish::Symbols),
            host("usr/bin/nosections", 14, Archive, EXEC_14, Finish::SymbolsAndSectionHeaders),
            host("usr/bin/static", 14, Archive, STATIC_14, Finish::Nothing),
        ],
    ),
    closure("pypy3", "sid", &["pypy3", "libc-bin"], &[]),
    Tree {
        name: "source-3.13t",
        how: How::Source {
            tarball: Tarball {
                path: "pool/main/p/python3.13/python3.13_3.13.5.orig.tar.xz",
                sha256: "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640",
            },
            cc: None,
            configure: FREE_THREADED,
        },
    },
    Tree {
        name: "source-3.14t",
        how: How::Source {
            tarball: Tarball {
                path: "pool/main/p/python3.14/python3.14_3.14.4.orig.tar.xz",
                sha256: "d923c51303e38e249136fc1bdf3568d56ecb03214efdef48516176d3d7faaef8",
            },
            cc: None,
            configure: FREE_THREADED,
        },
    },
    Tree {
        name: "musl-3.11",
        how: How::Source {
            tarball: Tarball {
                path: "pool/main/p/python3.11/python3.11_3.11.2.orig.tar.gz",
                sha256: "2411c74bda5bbcfcddaf4531f66d1adc73f247f529aee981b029513aefdbf849",
            },
            cc: Some("musl-gcc"),
            configure: PLAIN,
        },
    },
];

/// Most of the rows: a GIL build of Debian, linked as Debian does it.
const fn debian(name: &'static str, program: &'static str, minor: u32) -> Row {
    Row {
        name,
        tree: name,
        program,
        minor,
        kind: Release,
        runtime: InExecutable,
        libc: Libc::Glibc,
        pie: false,
        env: &[],
    }
}

const fn debug(name: &'static str, program: &'static str, minor: u32) -> Row {
    Row { kind: Dbg, ..debian(name, program, minor) }
}

const fn variant(name: &'static str, tree: &'static str, program: &'static str, minor: u32) -> Row {
    Row { tree, ..debian(name, program, minor) }
}

const fn source(name: &'static str, program: &'static str, minor: u32, kind: Kind, libc: Libc) -> Row {
    Row { kind, libc, pie: true, ..debian(name, program, minor) }
}

const JIT_ON: &[(&str, &str)] = &[("PYTHON_JIT", "1")];

/// In the order of the table.
pub(super) const ROWS: &[Row] = &[
    debian("sid-3.14", "usr/bin/python3.14", 14),
    debian("sid-3.15", "usr/bin/python3.15", 15),
    debian("sid-3.13", "usr/bin/python3.13", 13),
    debian("trixie-3.13", "usr/bin/python3.13", 13),
    debug("bookworm-3.11-dbg", "usr/bin/python3.11d", 11),
    debug("trixie-3.13-dbg", "usr/bin/python3.13d", 13),
    debug("sid-3.14-dbg", "usr/bin/python3.14d", 14),
    debug("sid-3.15-dbg", "usr/bin/python3.15d", 15),
    Row {
        runtime: InLibrary,
        pie: true,
        ..variant("shared-3.14", "sid-3.14", "usr/bin/python3.14-shared", 14)
    },
    Row {
        runtime: InLibrary,
        pie: true,
        ..variant("shared-3.15", "sid-3.15", "usr/bin/python3.15-shared", 15)
    },
    Row { kind: Jit, env: JIT_ON, ..variant("jit-3.14", "sid-3.14", "usr/bin/python3.14", 14) },
    Row { kind: Jit, env: JIT_ON, ..variant("jit-3.15", "sid-3.15", "usr/bin/python3.15", 15) },
    variant("embedded-3.11", "embedded-3.11", "usr/bin/embedded", 11),
    variant("embedded-3.11-stripped", "embedded-3.11", "usr/bin/stripped", 11),
    variant("embedded-3.11-nosections", "embedded-3.11", "usr/bin/nosections", 11),
    Row { pie: true, ..variant("embedded-3.11-pie", "embedded-3.11", "usr/bin/pie", 11) },
    Row { libc: Libc::Static, ..variant("embedded-3.11-static", "embedded-3.11", "usr/bin/static", 11) },
    Row {
        libc: Libc::Static,
        pie: true,
        ..variant("embedded-3.11-static-pie", "embedded-3.11", "usr/bin/static-pie", 11)
    },
    variant("embedded-3.14", "embedded-3.14", "usr/bin/embedded", 14),
    variant("embedded-3.14-stripped", "embedded-3.14", "usr/bin/stripped", 14),
    variant("embedded-3.14-nosections", "embedded-3.14", "usr/bin/nosections", 14),
    Row { libc: Libc::Static, ..variant("embedded-3.14-static", "embedded-3.14", "usr/bin/static", 14) },
    Row { kind: Pypy, runtime: InLibrary, pie: true, ..debian("pypy3", "usr/bin/pypy3", 11) },
    source("source-3.13t", "bin/python3.13t", 13, FreeThreaded, Libc::Glibc),
    source("source-3.14t", "bin/python3.14t", 14, FreeThreaded, Libc::Glibc),
    source("musl-3.11", "bin/python3.11", 11, Release, Libc::Musl),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_runs_what_its_tree_brings() {
        for row in ROWS {
            let tree = TREES.iter().find(|tree| tree.name == row.tree);
            let tree = tree.unwrap_or_else(|| panic!("{}: no tree {}", row.name, row.tree));
            let of_host = |host: &&Host| host.program == row.program;
            if let How::Closure { hosts, .. } = &tree.how
                && let Some(host) = hosts.iter().find(of_host)
            {
                let has_pie = host.flags.iter().all(|flag| *flag != "-no-pie");
                let is_static = host.flags.iter().any(|flag| flag.starts_with("-static"));
                assert_eq!(host.minor, row.minor, "{}", row.name);
                assert_eq!(has_pie, row.pie, "{}", row.name);
                assert_eq!(host.library == Shared, row.runtime == InLibrary, "{}", row.name);
                assert_eq!(is_static, row.libc == Libc::Static, "{}", row.name);
            } else if row.kind != Pypy {
                assert!(row.program.contains(&format!("python3.{}", row.minor)), "{}", row.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_each_tree_and_host_is_run() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        let trees: BTreeSet<_> = TREES.iter().map(|tree| tree.name).collect();
        assert_eq!(trees.len(), TREES.len());
        assert_eq!(trees, ROWS.iter().map(|row| row.tree).collect());
        for tree in TREES {
            // A leading dot is what the cache takes for left over from a fetch that was cut short.
            assert!(tree.name.starts_with(|c: char| c.is_ascii_alphanumeric()), "{}", tree.name);
            let hosts = match &tree.how {
                How::Closure { hosts, .. } => *hosts,
                How::Source { tarball, .. } => {
                    assert_eq!(tarball.sha256.len(), 64, "{}", tree.name);
                    &[]
                }
            };
            for host in hosts {
                let is_run = ROWS.iter().any(|row| row.tree == tree.name && row.program == host.program);
                assert!(is_run, "{}: {}", tree.name, host.program);
            }
        }
    }
}
