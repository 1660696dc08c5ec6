//! The single rules, and how each looks at a process.

use super::Candidate;
use crate::escape::escape;
use std::borrow::Cow;

/// What a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Pid,
    Name,
    Cgroup,
    Container,
    Unit,
    Uid,
    Python,
}

impl Kind {
    pub const ALL: [Kind; 7] =
        [Kind::Pid, Kind::Name, Kind::Cgroup, Kind::Container, Kind::Unit, Kind::Uid, Kind::Python];

    /// As the option is called.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Pid => "pid",
            Kind::Name => "name",
            Kind::Cgroup => "cgroup",
            Kind::Container => "container",
            Kind::Unit => "unit",
            Kind::Uid => "uid",
            Kind::Python => "python",
        }
    }

    /// What a process has of this kind, for people: a near miss says what there is instead.
    pub fn of<'a>(self, candidate: &Candidate<'a>) -> Cow<'a, str> {
        let identity = &candidate.standing.identity;
        let or_none = |text: &'a Option<String>| escape(text.as_deref().unwrap_or("none"));
        match self {
            Kind::Pid => candidate.pid.to_string().into(),
            Kind::Name => escape(&identity.name),
            Kind::Cgroup => {
                escape(candidate.standing.cgroups.iter().max_by_key(|it| it.len()).map_or("none", |it| it))
            }
            Kind::Container => or_none(&identity.container_id),
            Kind::Unit => or_none(&identity.unit),
            Kind::Uid => candidate.standing.uid.map_or("unknown".into(), |uid| uid.to_string().into()),
            Kind::Python => escape(candidate.python),
        }
    }
}

/// A regular expression and how it was typed.
#[derive(Clone, Debug)]
pub struct Pattern {
    typed: String,
    regex: regex_lite::Regex,
}

impl Pattern {
    /// Linear in what it is held against, so that no name of a process makes it slow.
    pub fn new(typed: &str) -> Result<Pattern, String> {
        let regex = regex_lite::Regex::new(typed).map_err(|error| error.to_string())?;
        Ok(Pattern { typed: typed.to_owned(), regex })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.typed == other.typed
    }
}

impl Eq for Pattern {}

/// A user, and how he was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub typed: String,
    pub uid: u32,
}

/// Rules of one sign. Of each kind any one has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Of exclusions only: what is asked for by number is `CaptureOptions::pids`.
    pub pids: Vec<u32>,
    pub names: Vec<Pattern>,
    /// Paths in a hierarchy, without a slash at the end.
    pub cgroups: Vec<String>,
    pub containers: Vec<String>,
    pub units: Vec<String>,
    pub users: Vec<User>,
    pub pythons: Vec<String>,
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        self.asked().all(|(_, values)| values.is_empty())
    }

    pub(super) fn may_change(&self) -> bool {
        let Rules { cgroups, containers, units, users, pids: _, names: _, pythons: _ } = self;
        !(cgroups.is_empty() && containers.is_empty() && units.is_empty() && users.is_empty())
    }

    pub(super) fn asked(&self) -> impl Iterator<Item = (&'static str, Vec<String>)> {
        let Rules { pids, names, cgroups, containers, units, users, pythons } = self;
        [
            (Kind::Pid, pids.iter().map(u32::to_string).collect()),
            (Kind::Name, names.iter().map(|it| it.typed.clone()).collect()),
            (Kind::Cgroup, cgroups.clone()),
            (Kind::Container, containers.clone()),
            (Kind::Unit, units.clone()),
            (Kind::Uid, users.iter().map(|it| it.typed.clone()).collect::<Vec<_>>()),
            (Kind::Python, pythons.clone()),
        ]
        .into_iter()
        .map(|(kind, values)| (kind.name(), values))
    }

    /// Whether any rule of this kind holds; `None` where there is none.
    pub(super) fn says(&self, kind: Kind, candidate: &Candidate<'_>) -> Option<bool> {
        let identity = &candidate.standing.identity;
        match kind {
            Kind::Pid => any(&self.pids, |pid| *pid == candidate.pid),
            Kind::Name => any(&self.names, |pattern| {
                let service = identity.service.as_deref().unwrap_or_default();
                pattern.regex.is_match(&identity.name) || pattern.regex.is_match(service)
            }),
            Kind::Cgroup => any(&self.cgroups, |group| {
                candidate.standing.cgroups.iter().any(|path| is_below(path, group))
            }),
            Kind::Container => any(&self.containers, |prefix| {
                identity.container_id.as_ref().is_some_and(|id| id.starts_with(prefix))
            }),
            Kind::Unit => any(&self.units, |unit| {
                let has = identity.unit.as_deref().unwrap_or_default();
                has == unit || has.strip_suffix(".service") == Some(unit)
            }),
            Kind::Uid => any(&self.users, |user| candidate.standing.uid == Some(user.uid)),
            Kind::Python => any(&self.pythons, |version| is_version(candidate.python, version)),
        }
    }
}

fn any<T>(rules: &[T], holds: impl Fn(&T) -> bool) -> Option<bool> {
    (!rules.is_empty()).then(|| rules.iter().any(holds))
}

fn is_below(path: &str, group: &str) -> bool {
    path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `3.1` means neither 3.11 nor 3.10; `3.15` means 3.15.0b1, too.
fn is_version(whole: &str, wanted: &str) -> bool {
    whole.strip_prefix(wanted).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}
