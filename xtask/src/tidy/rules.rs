//! The rules, as data: who may name what. A new invariant is a new row here and a planted line in the tests
//! of tidy.

use super::source::{Line, Source};

/// Something that files under `under` do not name, except those under `except`.
pub(super) struct Ban {
    pub(super) names: &'static [Name],
    pub(super) under: &'static [&'static str],
    pub(super) except: &'static [&'static str],
    pub(super) except_tests: bool,
    pub(super) why: &'static str,
}

pub(super) enum Name {
    /// An identifier in code.
    Ident(&'static str),
    /// Any part of the code, spaces removed; literals do not count.
    Code(&'static str),
    /// Part of a string literal or of code, comments do not count.
    Literal(&'static str),
    /// Any part of the file.
    Anywhere(&'static str),
    /// A module of this crate, in a path or in a `use` of several lines.
    Module(&'static str),
    /// `3.` and a digit, in code or in a literal.
    PythonVersion,
}

use Name::{Anywhere, Code, Ident, Literal, Module, PythonVersion};

pub(super) const BANS: &[Ban] = &[
    Ban {
        names: &[Ident("aya"), Ident("aya_log"), Ident("aya_obj")],
        under: &["profiler-user/src/"],
        except: &["profiler-user/src/bpf"],
        except_tests: false,
        why: "only bpf/ names aya: everything else is testable without a kernel",
    },
    Ban {
        names: &[Ident("clap")],
        under: &["profiler-user/src/"],
        except: &["profiler-user/src/cli"],
        except_tests: false,
        why: "only cli/ names clap: the rest takes what the program needs, not what the user typed",
    },
    Ban {
        names: &[Ident("prost")],
        under: &["profiler-user/src/"],
        except: &["profiler-user/src/encode/pprof", "profiler-user/src/decode/pprof"],
        except_tests: false,
        why: "only encode/pprof and decode/pprof, which reads what that writes, name prost: the profile is not a protobuf",
    },
    Ban {
        names: &[Literal("\"/proc"), Ident("procfs")],
        under: &["profiler-user/src/"],
        except: &["profiler-user/src/process"],
        except_tests: true,
        why: "only process/ opens /proc: a target is hostile, and one place guards against it",
    },
    Ban {
        names: &[
            Ident("process_vm_readv"),
            Ident("ProcessMemory"),
            Ident("inspect"),
            Ident("is_started"),
            Ident("may_bring_python"),
            Ident("process_name"),
            Code("process::identity"),
            Code("parked::parked"),
            Code("process::scan"),
            Code("scan::"),
            Code("Maps::read"),
            Literal("map_files"),
        ],
        under: &["profiler-user/src/"],
        except: &["profiler-user/src/process/", "profiler-user/src/reader/serve.rs"],
        except_tests: true,
        why: "only the reader reads targets: the loop asks it, and waits no longer than it has patience",
    },
    Ban {
        names: &[Module("process")],
        under: &["profiler-user/src/pipeline"],
        except: &[],
        except_tests: true,
        why: "pipeline does not see process, which reads targets: it asks the reader",
    },
    Ban {
        names: &[Module("process")],
        under: &["profiler-user/src/encode"],
        except: &[],
        except_tests: false,
        why: "encode does not see process: a profile is complete before it is written",
    },
    Ban {
        names: &[Module("process"), Ident("File"), Code("std::fs")],
        under: &["profiler-user/src/decode"],
        except: &[],
        except_tests: false,
        why: "decode sees bytes, no process and no file: what it reads is bounded before it gets there",
    },
    Ban {
        names: &[Module("profile")],
        under: &["profiler-user/src/sink"],
        except: &[],
        except_tests: false,
        why: "sink does not see profile: encoders write bytes, sinks move bytes",
    },
    Ban {
        names: &[Ident("std"), Ident("aya"), Ident("aya_ebpf"), Ident("profiler_common")],
        under: &["pyunwind/src/"],
        except: &[],
        except_tests: true,
        why: "pyunwind is no_std and knows neither maps nor processes: the kernel runs it",
    },
    Ban {
        names: &[PythonVersion],
        under: &["profiler-ebpf/src/"],
        except: &[],
        except_tests: false,
        why: "the BPF side names no Python version: a version is data, a Layout",
    },
    Ban {
        names: &[Code("todo!"), Code("unimplemented!"), Code("#[ignore")],
        under: &[""],
        except: &["docs/", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"],
        except_tests: false,
        why: "nothing unfinished and no test that does not run",
    },
    Ban {
        names: &[Ident("temp_dir"), Ident("tempdir")],
        under: &["tests/src/", "tests/tests/", "tests/benches/"],
        except: &["tests/src/lib.rs", "tests/benches/whole_host/exact/killed.rs"],
        except_tests: false,
        why: "a directory of a test is a Scratch: it is in the journal, and goes with the next run if the test is killed",
    },
    Ban {
        names: &[Anywhere("/root/"), Anywhere("/work/")],
        under: &[""],
        except: &["xtask/src/tidy"],
        except_tests: false,
        why: "a path of one developer's machine",
    },
];

/// Lines of code that a file must have.
pub(super) const REQUIRED: &[(&str, &[&str])] =
    &[("pyunwind/src/lib.rs", &["no_std", "#![forbid(unsafe_code)]"])];

/// Gives the numbers of the offending lines.
type Shape = fn(&Source) -> Option<usize>;

/// Rules about a Rust file as such; the first offence of each is enough.
pub(super) const SHAPES: &[(Shape, &str)] = &[
    (too_long, "more than 800 lines: split it"),
    (without_a_head, "a file begins with `//!` and why it exists"),
    (unsafe_without_reason, "unsafe without `// SAFETY:` in the lines above"),
];

const MAX_LINES: usize = 800;
const SAFETY_WITHIN_LINES: usize = 4;

fn too_long(source: &Source) -> Option<usize> {
    (source.lines().count() > MAX_LINES).then_some(MAX_LINES + 1)
}

fn without_a_head(source: &Source) -> Option<usize> {
    let mut lines = source.lines().filter(|line| !line.raw.trim().is_empty() && !line.raw.starts_with("#!"));
    let has_head = lines.next().is_some_and(|line| line.raw.starts_with("//!"));
    (!has_head).then_some(1)
}

fn unsafe_without_reason(source: &Source) -> Option<usize> {
    let lines: Vec<&Line> = source.lines().collect();
    let excused = |at: usize| {
        let mut from = at.saturating_sub(SAFETY_WITHIN_LINES);
        // A long reason counts from its first line.
        while from > 0 && lines[from].raw.trim_start().starts_with("//") {
            from -= 1;
        }
        lines[from..=at].iter().any(|line| line.raw.contains("SAFETY"))
    };
    let is_unsafe = |line: &Line| {
        let code = line.squeezed();
        Ident("unsafe").is_in(line) && (code.contains("unsafe{") || code.contains("unsafeimpl"))
    };
    lines.iter().enumerate().find(|(at, line)| is_unsafe(line) && !excused(*at)).map(|(_, line)| line.number)
}

impl Name {
    pub(super) fn is_in(&self, line: &Line) -> bool {
        match self {
            Ident(name) => line.idents().any(|ident| ident == *name),
            Code(text) => line.squeezed().contains(text),
            Literal(text) => line.with_literals.contains(text),
            Anywhere(text) => line.raw.contains(text),
            Module(name) => {
                let path = format!("crate::{name}");
                let code = line.squeezed();
                let as_path = code.match_indices(&path).any(|(at, _)| {
                    !code[at + path.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_')
                });
                as_path || line.is_in_use_of_crate && line.idents().any(|ident| ident == *name)
            }
            PythonVersion => line.with_literals.match_indices("3.").any(|(at, dot)| {
                line.with_literals[at + dot.len()..].starts_with(|next: char| next.is_ascii_digit())
            }),
        }
    }
}
