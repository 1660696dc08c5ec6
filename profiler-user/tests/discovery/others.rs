//! Implementations of Python that are no CPython: recognised by what their files say, not by running them.

use std::fs;
use std::process::Command;

use profiler_user::process::{FactsCache, Inspection, inspect};

use super::{Parked, Scratch};

const SOURCE: &str =
    "#include <stdio.h>\nint main(void) { puts(\"up\"); fflush(stdout); return getchar(); }\n";
const LIBRARY: &str = "int work(void) { return 0; }\n";

#[test]
fn other_implementations_are_named() {
    // The name of the program, the name that a library of it has, the answer.
    let rows = [
        ("pypy3.9", "libpypy3.9-c.so", Some("PyPy 3.9")),
        ("worker", "libpypy3.10-c.so", Some("PyPy 3.10")),
        ("worker", "libpypy-c.so", Some("PyPy")),
        ("graalpy", "libpythonvm.so", Some("GraalPy")),
        ("worker", "libpythonvm.so", Some("GraalPy")),
        ("micropython", "libother.so", Some("MicroPython")),
        ("rustpython", "libother.so", Some("RustPython")),
        ("worker", "libother.so", None),
    ];
    for (program, library, expected) in rows {
        let directory = Scratch::new("others");
        let at = |name: &str| directory.0.join(name);
        fs::write(at("program.c"), SOURCE).unwrap();
        fs::write(at("library.c"), LIBRARY).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-o"]).args([at(library), at("library.c")]);
        assert!(gcc.arg(format!("-Wl,-soname,{library}")).status().unwrap().success());
        let mut gcc = Command::new("gcc");
        gcc.arg("-o").args([at(program), at("program.c")]).args(["-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN"]);
        assert!(gcc.arg(at(library)).status().unwrap().success());
        let parked = Parked::start(&mut Command::new(at(program)));
        let found = match inspect(parked.pid(), &mut FactsCache::new()) {
            Ok(Inspection::Unsupported { what }) => Some(what),
            Ok(Inspection::MaybeLater { expects_libpython: false }) => None,
            other => panic!("{program} with {library}: {other:?}"),
        };
        assert_eq!(found.as_deref(), expected, "{program} with {library}");
    }
}
