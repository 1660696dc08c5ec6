//! Rows of processes and what rules say of them.

use super::*;
use crate::reader::Identity;

fn standing(name: &str, uid: u32, cgroups: &[&str]) -> Standing {
    Standing {
        identity: Identity { name: name.into(), ..Identity::default() },
        uid: Some(uid),
        cgroups: cgroups.iter().map(|path| (*path).to_owned()).collect(),
    }
}

fn names(patterns: &[&str]) -> Vec<Pattern> {
    patterns.iter().map(|pattern| Pattern::new(pattern).expect("a pattern")).collect()
}

fn users(uids: &[u32]) -> Vec<User> {
    uids.iter().map(|uid| User { typed: uid.to_string(), uid: *uid }).collect()
}

#[test]
fn one_of_each_kind_must_hold_and_no_exclusion() {
    let web = Rules { names: names(&["^web", "api$"]), users: users(&[33, 34]), ..Rules::default() };
    type Row = (&'static str, u32, &'static str, &'static [Kind], Option<Kind>);
    let rows: [Row; 6] = [
        ("web1", 33, "3.11.2", &[], None),
        ("the-api", 34, "3.11.2", &[], None),
        ("myweb", 33, "3.11.2", &[Kind::Name], None),
        ("web1", 0, "3.11.2", &[Kind::Uid], None),
        ("x", 0, "3.11.2", &[Kind::Name, Kind::Uid], None),
        ("web1", 33, "3.8.18", &[], Some(Kind::Python)),
    ];
    let exclude = Rules { pythons: vec!["3.8".into()], ..Rules::default() };
    let selection = Selection { only: web, exclude, trees: Vec::new() };
    for (name, uid, python, missed, excluded) in rows {
        let standing = standing(name, uid, &[]);
        let verdict = selection.judge(&Candidate { pid: 7, python, standing: &standing });
        assert_eq!(verdict, Verdict { missed: missed.to_vec(), excluded }, "{name} {uid} {python}");
        assert_eq!(verdict.is_selected(), missed.is_empty() && excluded.is_none());
    }
    assert!(Selection::default().is_any() && !selection.is_any());
}

#[test]
fn each_kind_looks_at_what_it_is_about() {
    let one = |rules: Rules| Selection { only: rules, ..Selection::default() };
    let rules = Rules::default;
    let text = |text: &str| vec![text.to_owned()];
    let rows = [
        (one(Rules { names: names(&["app"]), ..rules() }), true),
        (one(Rules { names: names(&["^checkout$"]), ..rules() }), true),
        (one(Rules { names: names(&["^pp"]), ..rules() }), false),
        (one(Rules { cgroups: text("/a.slice"), ..rules() }), true),
        (one(Rules { cgroups: text("/a.slice/b"), ..rules() }), true),
        (one(Rules { cgroups: text("/a.sl"), ..rules() }), false),
        (one(Rules { cgroups: text("/a.slice/b/c"), ..rules() }), false),
        (one(Rules { cgroups: text(""), ..rules() }), true),
        (one(Rules { containers: text("0123"), ..rules() }), true),
        (one(Rules { containers: text("123"), ..rules() }), false),
        (one(Rules { units: text("web"), ..rules() }), true),
        (one(Rules { units: text("web.service"), ..rules() }), true),
        (one(Rules { units: text("we"), ..rules() }), false),
        (one(Rules { users: users(&[1000]), ..rules() }), true),
        (one(Rules { users: users(&[0]), ..rules() }), false),
        (one(Rules { pythons: text("3"), ..rules() }), true),
        (one(Rules { pythons: text("3.11"), ..rules() }), true),
        (one(Rules { pythons: text("3.11.2"), ..rules() }), true),
        (one(Rules { pythons: text("3.1"), ..rules() }), false),
        (one(Rules { pythons: text("3.11.20"), ..rules() }), false),
        (Selection { exclude: Rules { pids: vec![7], ..rules() }, ..Selection::default() }, false),
        (Selection { exclude: Rules { pids: vec![8], ..rules() }, ..Selection::default() }, true),
    ];
    let mut standing = standing("app", 1000, &["/", "/a.slice/b"]);
    standing.identity.service = Some("checkout".into());
    standing.identity.container_id = Some("0123abc".into());
    standing.identity.unit = Some("web.service".into());
    for (selection, expected) in rows {
        let verdict = selection.judge(&Candidate { pid: 7, python: "3.11.2", standing: &standing });
        assert_eq!(verdict.is_selected(), expected, "{selection:?}");
    }
}

#[test]
fn what_a_process_lacks_fails_every_rule_about_it() {
    let nothing = Standing::default();
    let text = |text: &str| vec![text.to_owned()];
    for rules in [
        Rules { containers: text("0"), ..Rules::default() },
        Rules { units: text("x"), ..Rules::default() },
        Rules { users: users(&[0]), ..Rules::default() },
        Rules { cgroups: text("/a"), ..Rules::default() },
        Rules { pythons: text("3"), ..Rules::default() },
    ] {
        let selection = Selection { only: rules.clone(), ..Selection::default() };
        assert!(!selection.judge(&Candidate { pid: 1, python: "", standing: &nothing }).is_selected());
        let selection = Selection { exclude: rules, ..Selection::default() };
        assert!(selection.judge(&Candidate { pid: 1, python: "", standing: &nothing }).is_selected());
    }
}

#[test]
fn what_was_asked_for_is_told_by_the_names_of_the_options() {
    let selection = Selection {
        trees: vec![5],
        only: Rules { names: names(&["a", "b"]), ..Rules::default() },
        exclude: Rules { pythons: vec!["3.8".into()], ..Rules::default() },
    };
    let all = |values: &[&str]| values.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let expected = [("tree", all(&["5"])), ("name", all(&["a", "b"])), ("exclude-python", all(&["3.8"]))];
    assert_eq!(selection.asked(), expected.map(|(name, values)| (name.to_owned(), values)));
}
