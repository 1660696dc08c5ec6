//! The hosts, as data: what each is, and where it comes from.

/// Where a host comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum How {
    /// Of the machine's own Debian; the package that the version is of comes first.
    Apt { packages: &'static [&'static str], program: &'static str },
    /// The same, for a container: it runs in the tree of an interpreter.
    Container { packages: &'static [&'static str], program: &'static str, interpreter: &'static str },
    /// A package of pip's that an interpreter of this machine runs.
    Pip { package: &'static str, python: &'static str },
    /// A packer of pip's, run with these arguments in a directory with `app.py` and `work.py`; `program` is what it makes.
    Packer {
        package: &'static str,
        python: &'static str,
        arguments: &'static [&'static str],
        program: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) how: How,
}

const fn apt(name: &'static str, packages: &'static [&'static str], program: &'static str) -> Row {
    Row { name, how: How::Apt { packages, program } }
}

const APACHE: [&str; 2] = ["libapache2-mod-wsgi-py3", "apache2-bin"];

/// None of these packages starts a service when it is installed: `uwsgi` and `apache2` would, and are not needed.
pub(super) const ROWS: &[Row] = &[
    apt("uwsgi", &["uwsgi-core", "uwsgi-plugin-python3"], "/usr/bin/uwsgi"),
    apt("mod_wsgi", &APACHE, "/usr/sbin/apache2"),
    apt("mod_wsgi-daemon", &APACHE, "/usr/sbin/apache2"),
    apt("gdb", &["gdb"], "/usr/bin/gdb"),
    apt("gunicorn", &["gunicorn"], "/usr/bin/gunicorn"),
    Row {
        name: "runc",
        how: How::Container { packages: &["runc"], program: "/usr/sbin/runc", interpreter: "sid-3.14" },
    },
    Row { name: "celery", how: How::Pip { package: "celery", python: "pyenv-3.12" } },
    Row {
        name: "pyinstaller",
        how: How::Packer {
            package: "pyinstaller",
            python: "pyenv-3.13",
            arguments: &["-m", "PyInstaller", "--onefile", "--distpath", "made", "app.py"],
            program: "made/app",
        },
    },
    Row {
        name: "cx_freeze",
        how: How::Packer {
            package: "cx_Freeze",
            python: "pyenv-3.11",
            arguments: &["-m", "cx_Freeze", "--script", "app.py", "--target-dir", "made"],
            program: "made/app",
        },
    },
    Row {
        name: "nuitka",
        how: How::Packer {
            package: "nuitka",
            python: "pyenv-3.12",
            arguments: &[
                "-m",
                "nuitka",
                "--standalone",
                "--assume-yes-for-downloads",
                "--output-dir=made",
                "--output-filename=app",
                "app.py",
            ],
            program: "made/app.dist/app",
        },
    },
];

impl Row {
    /// Whether every run of the tests has it.
    pub(super) fn is_of_every_test(&self) -> bool {
        matches!(self.how, How::Apt { .. } | How::Container { .. })
    }
}
