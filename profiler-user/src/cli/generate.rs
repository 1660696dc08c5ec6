//! `generate`: shell completions and manual pages, made from the very definitions that the command line is read with, so that
//! they know every command and option that there is. For who packs the program; not in the list of commands.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::pages;
use super::typed::Typed;
use crate::escape::escape_bytes;
use crate::exit::{Exit, Failure};

#[derive(Args, Debug)]
pub(super) struct TypedGenerate {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Print what makes a shell complete commands and options
    Completions { shell: Shell },
    /// Write manual pages
    Man {
        /// Directory for them: new, or there already
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Clone, PartialEq, Debug)]
pub enum GenerateOptions {
    Completions(Shell),
    Man(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error("failed to write the completions: {0}")]
    Completions(io::Error),
    #[error("failed to write {}: {source}", escape_bytes(path.as_os_str().as_encoded_bytes()))]
    Page { path: PathBuf, source: io::Error },
}

impl From<GenerateError> for Failure {
    fn from(error: GenerateError) -> Failure {
        Failure { exit: Exit::Other, message: error.to_string() }
    }
}

pub(super) fn options(typed: TypedGenerate) -> GenerateOptions {
    match typed.what {
        What::Completions { shell } => GenerateOptions::Completions(shell),
        What::Man { directory } => GenerateOptions::Man(directory),
    }
}

pub fn generate(options: &GenerateOptions) -> Result<(), GenerateError> {
    match options {
        GenerateOptions::Completions(shell) => {
            // Into memory first: the generator panics where its output cannot be written.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Typed::command(), "pyprof-bpf", &mut script);
            if *shell == Shell::Bash {
                // Where the name of the program has a hyphen, the generator spells it in two ways, and nothing behind a command is
                // ever completed (clap-rs/clap#6421).
                let text = String::from_utf8_lossy(&script);
                script = text.replace("pyprof__subcmd__bpf", "pyprof__bpf").into_bytes();
            }
            io::stdout().write_all(&script).map_err(GenerateError::Completions)
        }
        GenerateOptions::Man(directory) => man(directory),
    }
}

fn man(directory: &Path) -> Result<(), GenerateError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| GenerateError::Page { path, source }
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    for (name, page) in pages::all(Typed::command()) {
        let path = directory.join(name);
        fs::write(&path, page).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command_and_it_has_examples() {
        let pages = pages::all(Typed::command());
        let command = Typed::command();
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut names = vec!["pyprof-bpf.1".to_owned()];
        names.extend(visible.map(|command| format!("pyprof-bpf-{}.1", command.get_name())));
        let mut made: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
        names.sort();
        made.sort();
        assert_eq!(made, names.iter().collect::<Vec<_>>());
        for (name, page) in &pages {
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES", "SEE ALSO"]
            {
                assert!(
                    page.contains(&format!(".SH \"{section}\""))
                        || page.contains(&format!(".SH {section}\n")),
                    "{name}: {section}\n{page}"
                );
            }
            // A new command: what it is for belongs into `pages::EXAMPLES`.
            assert!(page.contains("\n.EX\n"), "{name} has no example");
        }
    }

    #[test]
    fn every_example_is_of_a_command_that_there_is() {
        for (name, _) in pages::EXAMPLES {
            let command = Typed::command();
            assert!(*name == "pyprof-bpf" || command.find_subcommand(name).is_some(), "{name}");
        }
    }
}
