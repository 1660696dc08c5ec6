//! Whose something is: a process, told apart from any later one that is given its number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Written as `PID:START`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Owner {
    pub pid: u32,
    /// Clock ticks after boot (proc_pid_stat(5), field 22).
    pub start: u64,
}

impl Owner {
    pub fn me() -> Owner {
        Owner::of(std::process::id()).expect("/proc shows this process")
    }

    /// Whoever has this number now. A zombie is nobody.
    pub fn of(pid: u32) -> Option<Owner> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        start(&stat).map(|start| Owner { pid, start })
    }

    pub fn lives(self) -> bool {
        Owner::of(self.pid) == Some(self)
    }
}

/// The name in it may hold anything, `)` as well.
fn start(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if ["Z", "X"].contains(&fields.next()?) {
        return None;
    }
    // Field 22; the state was field 3.
    fields.nth(18)?.parse().ok()
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.start)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Owner, ()> {
        let (pid, start) = text.split_once(':').ok_or(())?;
        Ok(Owner { pid: pid.parse().map_err(|_| ())?, start: start.parse().map_err(|_| ())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let fields = (4..=21).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        for (name, state, expected) in
            [("sh", "S", Some(77)), ("a) Z 1 (b c", "R", Some(77)), ("sh", "Z", None), ("sh", "X", None)]
        {
            assert_eq!(start(&format!("5 ({name}) {state} {fields} 77 0 0\n")), expected, "{name} {state}");
        }
        assert_eq!(start("5 (sh) S 1 2"), None);
    }

    #[test]
    fn only_the_same_process_is_the_owner() {
        let me = Owner::me();
        assert!(me.lives());
        assert!(!Owner { start: me.start + 1, ..me }.lives());
        assert_eq!(me.to_string().parse(), Ok(me));
        for text in ["", "1", "1:", ":1", "x:1", "1:2:3"] {
            assert_eq!(text.parse::<Owner>(), Err(()), "{text}");
        }
        let mut child = std::process::Command::new("true").spawn().expect("it runs");
        let owner = Owner::of(child.id());
        // Not waited for yet: a zombie.
        while Owner::of(child.id()).is_some() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(owner.is_none_or(|owner| !owner.lives()));
        child.wait().expect("our own child");
    }
}
