//! Programs that were made of a script and a Python, and a tool with one inside: a line in, a line out.

use crate::host::{Ask, Expected, Host, sources};
use crate::rows::Row;

pub fn gdb(row: &Row) -> Result<Host, String> {
    let scratch = sources();
    let path = scratch.path().display();
    let mut command = row.command();
    let run = format!("python import sys; sys.path.insert(0, '{path}'); import work; work.tool()");
    command.args(["-nx", "-batch", "-ex", &run]);
    let expected = Expected { name: "gdb", workers: 1, ..Expected::default() };
    Ok(Host::start(command, scratch, Ask::Line, expected))
}

/// One file that unpacks itself and starts itself again: the process that was started has no Python.
pub fn one_file(row: &Row) -> Result<Host, String> {
    let others = Expected { others: 1, others_without_python: true, ..Expected::default() };
    Ok(program(row).expecting(Expected { name: "app", workers: 1, ..others }))
}

/// A directory with a program that is its own interpreter.
pub fn directory(row: &Row) -> Result<Host, String> {
    Ok(program(row).expecting(Expected { name: "app", workers: 1, ..Expected::default() }))
}

fn program(row: &Row) -> Host {
    Host::start(row.command(), sources(), Ask::Line, Expected::default())
}
