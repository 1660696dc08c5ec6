//! What is made of the trial: which step failed, and whose refusal it was.

use super::facts::{Facts, Known, Pythons, State, Types};
use super::finding::Finding;
use super::judge::{has, missing_capabilities};
use crate::bpf::{Loaded, Ran, Step};

pub(super) const UNFILTERED: &str = "allow bpf(2) and perf_event_open(2): docker --security-opt seccomp=unconfined; Kubernetes: \
                                     seccompProfile.type: Unconfined";
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;

fn is_refusal(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::EPERM | libc::EACCES | libc::ENOSYS))
}

/// Whether a filter is to blame: there is one, nothing else explains a refusal, and a call was refused.
pub(super) fn is_filtered(facts: &Facts) -> bool {
    let trial = &facts.trial;
    let was_refused = [&trial.perf_event, &trial.bpf_call]
        .iter()
        .any(|step| matches!(step, Step::Failed { errno, .. } if is_refusal(*errno)));
    facts.status.seccomp.is_some_and(|mode| mode != 0) && was_refused && !is_otherwise_explained(facts)
}

fn is_otherwise_explained(facts: &Facts) -> bool {
    !missing_capabilities(facts).is_empty()
        || facts.is_initial_user_namespace == Known::Is(false)
        || facts.lockdown.get().is_some_and(|mode| mode == "confidentiality")
        || facts.perf_event_paranoid.get().is_some_and(|level| *level > 2 && !has(facts, CAP_SYS_ADMIN))
}

/// The mend of a step that failed.
fn mend(facts: &Facts, errno: Option<i32>) -> String {
    if is_filtered(facts) {
        return UNFILTERED.into();
    }
    if !is_refusal(errno) {
        return "see docs/doctor.md for what a report of this should hold".into();
    }
    match facts.security_modules.get() {
        Some(modules) => {
            format!("a security module refuses ({modules}): look for its denials in the audit log")
        }
        None => {
            "something outside of the kernel's own rules refuses: look for denials in the audit log".into()
        }
    }
}

/// The first line: what the verifier says follows in hundreds of others.
fn first_line(what: &str) -> String {
    const MOST_CHARS: usize = 200;
    what.lines().next().unwrap_or_default().chars().take(MOST_CHARS).collect()
}

fn step<T>(about: &'static str, facts: &Facts, step: &Step<T>, done: impl FnOnce(&T) -> String) -> Finding {
    let finding = Finding::about(about);
    match step {
        Step::Done(it) => finding.ok(done(it)),
        Step::Failed { errno, what } if is_refusal(*errno) && is_otherwise_explained(facts) => {
            let told = format!("refused, as the problems above make expect: {}", first_line(what));
            finding.unseen(told).with_detail(what)
        }
        Step::Failed { errno, what } => {
            finding.problem(first_line(what), mend(facts, *errno)).with_detail(what)
        }
        Step::NotTried => finding.unseen("not tried, since a step before it failed".into()),
    }
}

pub(super) fn perf_event(facts: &Facts) -> Finding {
    step("perf event", facts, &facts.trial.perf_event, |()| {
        "perf_event_open(2) opens a cpu-clock event".into()
    })
}

pub(super) fn bpf_call(facts: &Facts) -> Finding {
    step("bpf(2)", facts, &facts.trial.bpf_call, |()| "makes a map".into())
}

/// Some kernels take seconds for what others do in a tenth of one.
const SLOW_LOAD_MS: u128 = 5_000;

pub(super) fn load(facts: &Facts) -> Finding {
    let slow = |loaded: &&Loaded| loaded.took.as_millis() > SLOW_LOAD_MS;
    let text = |Loaded { took, verifier }: &Loaded| {
        format!("loaded in {} ms, {} ms of it in the verifier", took.as_millis(), verifier.as_millis())
    };
    match &facts.trial.load {
        Step::Failed { .. } if !matches!(facts.types, Types::Usable { .. }) => {
            Finding::about("programs").unseen("not loaded: they need BTF".into())
        }
        Step::Done(loaded) if slow(&loaded) => Finding::about("programs").warning(
            text(loaded),
            "start a capture that much earlier; the CPUs are busy, or the kernel debugs itself",
        ),
        other => step("programs", facts, other, text),
    }
}

pub(super) fn run(facts: &Facts) -> Finding {
    let text = |Ran { attached_in, ticks, events }: &Ran| {
        let starts = if *events == 1 { "start" } else { "starts" };
        format!(
            "attached in {} ms; {ticks} ticks counted, {events} {starts} of processes read from the ring",
            attached_in.as_millis()
        )
    };
    match &facts.trial.run {
        Step::Done(ran) if ran.ticks == 0 => Finding::about("ticks and ring").problem(
            format!("{}: cpu-clock does not tick", text(ran)),
            "see whether `perf stat -e cpu-clock true` counts; a kernel without high-resolution timers does not",
        ),
        Step::Done(ran) if ran.events == 0 => Finding::about("ticks and ring").problem(
            format!("{}: tracepoints do not report", text(ran)),
            "use the host's pid namespace and its kernel: gVisor and user-mode Linux have no tracepoints",
        ),
        other => step("ticks and ring", facts, other, text),
    }
}

pub(super) fn detach(facts: &Facts) -> Finding {
    step("detach", facts, &facts.trial.detach, |took| {
        format!("everything taken back in {} ms", took.as_millis())
    })
}

/// So many of those that could not be looked at; `--json` has all.
const NAMED: usize = 3;

pub(super) fn pythons(facts: &Facts) -> Finding {
    let finding = Finding::about("Python processes");
    let Pythons { found, refused, failed } = &facts.pythons;
    if let Some(why) = failed {
        return finding.problem(
            format!("nobody could be looked at: {why}"),
            "start it where /proc/self/exe may be run",
        );
    }
    let count = |is: fn(&State) -> bool| found.iter().filter(|python| is(&python.state)).count();
    let ready = count(|state| matches!(state, State::Ready { .. }));
    let dormant = count(|state| matches!(state, State::Dormant));
    let cannot = count(|state| matches!(state, State::Not(_)));
    let unverified = count(|state| matches!(state, State::Ready { verified: false, .. }));
    let mut parts = vec![format!("{ready} can be unwound")];
    let mut say = |number: usize, what: &str| {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    };
    say(unverified, "of them of a version that was not tested");
    say(dormant, "with a libpython and without Python threads");
    say(cannot, "cannot");
    say(refused.len(), "could not be looked at");
    let nobody = found.is_empty() && refused.is_empty();
    let mut what = if nobody { "none runs now".into() } else { parts.join(", ") };
    let who = refused.iter().take(NAMED).map(|one| match one.name.as_str() {
        "" => format!("pid {}", one.pid),
        name => format!("{name} (pid {})", one.pid),
    });
    let mut who: Vec<String> = who.collect();
    who.extend(refused.len().checked_sub(NAMED).filter(|more| *more > 0).map(|more| format!("{more} more")));
    if !who.is_empty() {
        what = format!("{what}: {}", who.join(", "));
    }
    if cannot > 0 {
        return finding.warning(what, "each line below says why; docs/support.md lists what can be unwound");
    }
    if unverified > 0 {
        return finding
            .warning(what, "compare a profile with what you know, or run a release of docs/support.md");
    }
    if !refused.is_empty() {
        // Those of root are then protected by something else, such as a security module or capabilities that we lack.
        let fix = match has(facts, CAP_SYS_PTRACE) {
            true => {
                "none, unless one is a Python: something protects them even from CAP_SYS_PTRACE, or they gave no answer"
            }
            false => "run with sudo",
        };
        return finding.unseen_unless(what, fix);
    }
    finding.ok(what)
}
