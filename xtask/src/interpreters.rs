//! `cargo xtask interpreters`: has every build of CPython that the tests want and the machine lacks, in a
//! cache directory. What is there is run, not believed; what is missing is fetched or built.

pub(crate) mod cache;
pub(crate) mod debian;
mod host;
mod index;
mod native;
mod probe;
mod rows;
mod source;

use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use cache::{Cache, Scratch};
use debian::Mirror;
pub(crate) use index::Interpreter;
pub(crate) use native::{native, set_in_place};
use rows::{How, ROWS, Row, Tree};
pub(crate) use rows::{Kind, Libc};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this one (repeat for more).
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Fetch nothing: show what is there.
    #[arg(long)]
    list: bool,
}

pub(crate) fn command(options: Options) -> Result<()> {
    let started = Instant::now();
    let outcomes = look(&options.only, !options.list)?;
    println!("{}", table(&outcomes));
    let missing = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).count();
    eprintln!("{} of {} in {:.1?}", outcomes.len() - missing, outcomes.len(), started.elapsed());
    if missing > 0 && !options.list {
        bail!("{missing} interpreters could not be had");
    }
    Ok(())
}

/// The name of a row, and what it was found to be.
pub(crate) type Outcome = (&'static str, Result<Interpreter>);

/// The interpreters of these names (all without names), each or why it is not to be had. What is missing is
/// fetched if `may_fetch`.
pub(crate) fn look(names: &[String], may_fetch: bool) -> Result<Vec<Outcome>> {
    if let Some(unknown) = names.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        bail!("no interpreter is called {unknown}; `--list` has the names");
    }
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| names.is_empty() || names.iter().any(|name| name == row.name)).collect();
    let cache = Cache::open("interpreters")?;
    let mut farm = Farm { cache: &cache, session: None };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for tree in rows::TREES {
        let of_tree: Vec<&'static Row> = rows.iter().copied().filter(|row| row.tree == tree.name).collect();
        if !of_tree.is_empty() {
            outcomes.extend(farm.rows_of(tree, of_tree, may_fetch));
        }
    }
    outcomes.sort_by_key(|(name, _)| rows.iter().position(|row| row.name == *name));

    let looked_at: Vec<&str> = rows.iter().map(|row| row.name).collect();
    let found: Vec<&Interpreter> = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).collect();
    index::save(&cache.dir.join(index::FILE), &looked_at, &found)?;
    Ok(outcomes)
}

/// Fetches one tree after the other, and makes what they share once and only if one has to be fetched.
struct Farm<'a> {
    cache: &'a Cache,
    session: Option<Session>,
}

struct Session {
    mirror: Mirror,
    /// apt's lists, a directory per suite.
    lists: Scratch,
    _lock: cache::Lock,
}

impl Farm<'_> {
    fn rows_of(&mut self, tree: &Tree, rows: Vec<&'static Row>, may_fetch: bool) -> Vec<Outcome> {
        let outcomes = self.probe(tree, &rows);
        if !may_fetch || !self.is_broken(tree, &outcomes) {
            return outcomes;
        }
        match self.fetch(tree, &rows).with_context(|| format!("failed to fetch {}", tree.name)) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let why = format!("{error:#}");
                eprintln!("{why}");
                rows.into_iter().map(|row| (row.name, Err(anyhow!("{why}")))).collect()
            }
        }
    }

    fn probe(&self, tree: &Tree, rows: &[&'static Row]) -> Vec<Outcome> {
        let root = self.cache.root(tree);
        let look = |row: &'static Row| {
            if !self.cache.has(tree) {
                bail!("not fetched");
            }
            Interpreter::new(row, &root, probe::probe(row, &root)?)
        };
        rows.iter().map(|row| (row.name, look(row))).collect()
    }

    fn is_broken(&self, tree: &Tree, outcomes: &[Outcome]) -> bool {
        outcomes.iter().any(|(name, outcome)| outcome.is_err() && !self.cache.is_without(tree, name))
    }

    fn fetch(&mut self, tree: &Tree, rows: &[&'static Row]) -> Result<Vec<Outcome>> {
        let started = Instant::now();
        let cache = self.cache;
        if self.session.is_none() {
            self.session = Some(Session::start(cache)?);
            // Whoever had the lock before us may have fetched it.
            let outcomes = self.probe(tree, rows);
            if !self.is_broken(tree, &outcomes) {
                return Ok(outcomes);
            }
        }
        let session = self.session.as_ref().context("no session")?;
        eprintln!("{}: fetching", tree.name);
        let scratch = cache.scratch(tree.name)?;
        let work = &scratch.dir;
        match &tree.how {
            How::Closure { suite, packages, hosts } => {
                debian::fetch(suite, None, packages, &session.mirror, &session.lists.dir, work)?;
                hosts.iter().try_for_each(|program| host::link(program, work))?;
            }
            How::Source { tarball, cc, configure } => {
                source::build(tarball, *cc, configure, &session.mirror, work, &cache.root(tree))?;
            }
        }
        // Before anyone else sees it: a tree of which nothing runs is none.
        let root = work.join("root");
        let of_tree = ROWS.iter().filter(|row| row.tree == tree.name);
        let (run, without): (Vec<_>, Vec<_>) =
            of_tree.map(|row| (row.name, probe::probe(row, &root))).partition(|(_, facts)| facts.is_ok());
        if run.is_empty() {
            without.into_iter().try_for_each(|(_, why)| why.map(drop))?;
            bail!("nothing runs what it brings");
        }
        let without: Vec<&str> = without.into_iter().map(|(name, _)| name).collect();
        cache.commit(tree, &scratch, &without)?;
        eprintln!("{}: there in {:.1?}", tree.name, started.elapsed());
        Ok(self.probe(tree, rows))
    }
}

impl Session {
    fn start(cache: &Cache) -> Result<Self> {
        let lock = cache.lock()?;
        cache.sweep(&lock)?;
        Ok(Self { mirror: Mirror::of_this_machine()?, lists: cache.scratch("lists")?, _lock: lock })
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let mut lines = vec![["NAME", "VERSION", "WHERE", "HOW TO RUN"].map(str::to_owned)];
    for (name, outcome) in outcomes {
        let name = (*name).to_owned();
        lines.push(match outcome {
            Ok(one) => [
                name,
                format!("{}{}", one.version, one.abiflags),
                one.executable.display().to_string(),
                one.how_to_run(),
            ],
            Err(why) => [name, "-".to_owned(), "-".to_owned(), format!("{why:#}").replace('\n', "\n    ")],
        });
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let [name, version, place] = [width(0), width(1), width(2)];
    let text = |line: &[String; 4]| {
        format!("{:name$}  {:version$}  {:place$}  {}", line[0], line[1], line[2], line[3])
    };
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}
