//! The walk: what a person does, why, and what it must show. A new command of pyprof-bpf that helps here is a row.

pub(super) struct Step {
    /// Before the command: why, and what to look for. `{pid}` is the worker, `{line}` the slow line, `{waits}` the one that
    /// waits.
    pub(super) text: &'static str,
    pub(super) command: &'static str,
    /// What the output has to have: the page promises it.
    pub(super) shows: &'static [&'static str],
    /// So much of it is shown.
    pub(super) most_lines: usize,
    pub(super) is_after_the_mend: bool,
    /// A look at one moment may meet the program elsewhere: a person looks again, too.
    pub(super) tries: usize,
}

pub(super) const HEAD: &str = "\
# An incident in ten minutes

A shop on gunicorn and Django has become slow. You are root on the host, and know neither the program nor its authors. Every
command here was run, and what it printed is shown, by `cargo xtask incident --write`, against a real gunicorn
(`xtask/src/incident/shop.py`); it fails if a command does not lead to the slow line any more.

";

const fn step(
    text: &'static str,
    command: &'static str,
    shows: &'static [&'static str],
    most_lines: usize,
) -> Step {
    Step { text, command, shows, most_lines, is_after_the_mend: false, tries: 1 }
}

pub(super) const STEPS: &[Step] = &[
    step(
        "## Does it work here?\n\nHalf a second, and nothing is sampled. Each finding that is not `ok` comes with its mend. At the end stand the \
         Pythons of the host, and whether each can be unwound.\n",
        "sudo pyprof-bpf doctor",
        &["A capture can begin here", "{pid}"],
        60,
    ),
    step(
        "## Who takes the CPU?\n\nProcesses by CPU, live with `top` on a terminal (`q` ends it), as a table here. One worker of gunicorn takes \
         what it can get.\n",
        "sudo pyprof-bpf top --batch -n 1 -i 3",
        &["{pid}"],
        12,
    ),
    Step {
        tries: 5,
        ..step(
            "## What does it do now?\n\nThe stack of every thread at this moment. One look proves nothing; it tells whether the process works or \
         waits, and in whose code. A few looks at the same place are a hint.\n",
            "sudo pyprof-bpf dump -p {pid}",
            &["shop.py"],
            40,
        )
    },
    step(
        "## Where does the time go?\n\nTen seconds of samples of this one process, which notices nothing of it. The line at the top is the \
         answer already: `shop.py`, line {line}.\n",
        "sudo pyprof-bpf record -d 10 -p {pid} -o before",
        &["customer_of", "shop.py:{line}"],
        40,
    ),
    step(
        "## The line, in its source\n\nEach line of the function with its time. The program looks through all customers for each order.\n",
        "pyprof-bpf report --source customer_of before",
        &["if customer[\"id\"] == order[\"customer\"]:"],
        40,
    ),
    step("Who calls it:\n", "pyprof-bpf report --callers customer_of before", &["list_orders"], 20),
    step(
        "The directory holds a profile that every reader of pprof opens, too; `-http=:` instead of `-top` shows it in a browser.\n",
        "go tool pprof -top -lines before/*.pb.gz",
        &["shop.py:{line}"],
        16,
    ),
    Step {
        is_after_the_mend: true,
        ..step(
            "## Did it help?\n\nThe search is replaced by a look into a dictionary, and gunicorn started again. The same ten seconds:\n",
            "sudo pyprof-bpf record -d 10 -p {pid} -o after",
            &["Captured"],
            40,
        )
    },
    Step {
        is_after_the_mend: true,
        ..step("And what has changed:\n", "pyprof-bpf report --diff before after", &["customer_of"], 20)
    },
    Step {
        is_after_the_mend: true,
        ..step(
            "## What is left\n\nThe worker has a core for itself and does not take it: half of the time it waits. `--off-cpu` says for what. The \
             summary of waits leads to `shop.py`, line {waits}, where the answer of another service is read.\n",
            "sudo pyprof-bpf record --off-cpu -d 10 -p {pid} -o waits",
            &["in_stock", "shop.py:{waits}", "recvfrom"],
            40,
        )
    },
];

pub(super) const END: &str = "\
The shop answers {after} requests a second instead of {before}.
";
