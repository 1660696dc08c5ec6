//! Hosts of pip's, in the cache: a directory with the packages, and with what a packer made of the tests' work.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Place;
use super::rows::{How, Row};
use crate::interpreters::cache::{Cache, Made};
use crate::util::{command, output};

/// The work, as the packers pack it.
const SOURCES: [(&str, &str); 2] = [
    ("work.py", include_str!("../../../tests/targets/hosts/work.py")),
    ("app.py", include_str!("../../../tests/targets/hosts/app.py")),
];
const PACKAGES: &str = "packages";

/// A row with the interpreter that makes it: another one makes another thing.
struct Recipe<'a> {
    row: &'a Row,
    python: &'a Path,
}

impl Made for Recipe<'_> {
    fn name(&self) -> &'static str {
        self.row.name
    }

    fn recipe(&self) -> String {
        // What celery is given is read at run time.
        let packed = matches!(self.row.how, How::Packer { .. }).then_some(SOURCES);
        format!("{:#?}\n{}\n{packed:?}\n", self.row.how, self.python.display())
    }
}

/// Where the host is; what is not there is fetched and made.
pub(super) fn place(row: &Row, python: &Path) -> Result<Place> {
    let cache = Cache::open("hosts")?;
    let recipe = Recipe { row, python };
    if !cache.has(&recipe) {
        let lock = cache.lock()?;
        cache.sweep(&lock)?;
        // Whoever had the lock before us may have made it.
        if !cache.has(&recipe) {
            make(&cache, &recipe)?;
        }
    }
    let root = cache.root(&recipe);
    let packages = root.join(PACKAGES);
    match row.how {
        How::Pip { package, .. } => {
            let path = packages.to_str().context("the cache's path is not UTF-8")?.to_owned();
            let env = BTreeMap::from([("PYTHONPATH".to_owned(), path)]);
            Ok(Place { version: version(&packages, package)?, argv: vec![text(python)?], env, root: None })
        }
        How::Packer { package, program, .. } => {
            let argv = vec![text(&root.join(program))?];
            Ok(Place { version: version(&packages, package)?, argv, env: BTreeMap::new(), root: None })
        }
        How::Apt { .. } | How::Container { .. } => bail!("{} does not come from pip", row.name),
    }
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}

fn make(cache: &Cache, recipe: &Recipe<'_>) -> Result<()> {
    eprintln!("{}: fetching", recipe.row.name);
    let scratch = cache.scratch(recipe.row.name)?;
    let root = scratch.dir.join("root");
    let packages = root.join(PACKAGES);
    fs::create_dir_all(&packages).with_context(|| format!("failed to create {}", packages.display()))?;
    let (package, arguments) = match recipe.row.how {
        How::Pip { package, .. } => (package, None),
        How::Packer { package, arguments, program, .. } => (package, Some((arguments, program))),
        How::Apt { .. } | How::Container { .. } => bail!("{} does not come from pip", recipe.row.name),
    };
    let mut pip = command(recipe.python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
    output(pip.arg(&packages).arg(package)).with_context(|| format!("failed to fetch {package}"))?;
    if let Some((arguments, program)) = arguments {
        for (name, source) in SOURCES {
            fs::write(root.join(name), source).with_context(|| format!("failed to write {name}"))?;
        }
        let mut packer = command(recipe.python);
        packer.args(arguments).current_dir(&root).env("PYTHONPATH", &packages);
        output(&mut packer).with_context(|| format!("failed to run {package}"))?;
        if !root.join(program).is_file() {
            bail!("{package} made no {program}");
        }
    }
    cache.commit(recipe, &scratch, &[])
}

/// `NAME-VERSION.dist-info`, with the name in whatever letters the package has it.
fn version(packages: &Path, package: &str) -> Result<String> {
    let entries = fs::read_dir(packages).with_context(|| format!("failed to read {}", packages.display()))?;
    let of_entry = |path: PathBuf| version_of(path.file_name()?.to_str()?, package);
    let mut versions = entries.flatten().filter_map(|entry| of_entry(entry.path()));
    versions.next().with_context(|| format!("{package} has no version"))
}

fn version_of(directory: &str, package: &str) -> Option<String> {
    let (name, version) = directory.strip_suffix(".dist-info")?.rsplit_once('-')?;
    let plain = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    (plain(name) == plain(package)).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn a_version_is_that_of_the_package_itself() {
        let check = |directory: &str, expected: Option<&str>| {
            assert_eq!(version_of(directory, "cx_Freeze").as_deref(), expected, "{directory}");
        };
        check("cx_freeze-8.4.1.dist-info", Some("8.4.1"));
        check("cx_Freeze-8.4.1.dist-info", Some("8.4.1"));
        check("cx-Freeze-8.4.1.dist-info", Some("8.4.1"));
        check("freeze_core-0.2.0.dist-info", None);
        check("cx_Freeze", None);
    }
}
