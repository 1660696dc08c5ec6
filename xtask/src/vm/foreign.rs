//! What runs on a machine that is not of this one's kind: our programs from a cross compiler, CPythons and a shell from
//! Debian's packages. Nothing of it is asked what it consists of, since it does not run here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::arch::Arch;
use super::archive::Archive;
use super::closure;
use super::plan::{Parts, tests_of};
use crate::interpreters::cache::{Cache, Made};
use crate::interpreters::debian::{self, Apt, Mirror};
use crate::interpreters::set_in_place;
use crate::setup::apt_install;
use crate::util::{Workspace, command, run, which};

/// A directory of the cache with packages of one suite.
struct Tree {
    name: &'static str,
    suite: &'static str,
    packages: &'static [&'static str],
    /// The interpreter in it.
    program: Option<&'static str>,
    arch: &'static Arch,
}

impl Made for Tree {
    fn name(&self) -> &'static str {
        self.name
    }

    fn recipe(&self) -> String {
        format!("{} {} {:?}\n", self.arch.debian, self.suite, self.packages)
    }
}

type Row = (&'static str, &'static str, &'static [&'static str], &'static str);

/// The versions that run on this machine's kind, each as Debian has it.
const INTERPRETERS: [Row; 4] = [
    ("bullseye-3.9", "bullseye", &["python3.9-minimal", "libpython3.9-stdlib", "libc-bin"], "python3.9"),
    ("bookworm-3.11", "bookworm", &["python3.11-minimal", "libpython3.11-stdlib", "libc-bin"], "python3.11"),
    ("trixie-3.13", "trixie", &["python3.13-minimal", "libpython3.13-stdlib", "libc-bin"], "python3.13"),
    ("sid-3.15", "sid", &["python3.15-minimal", "libpython3.15-stdlib", "libc-bin"], "python3.15"),
];
/// One program that is the shell and what else the tests start by name.
const SHELL: Row = ("shell", "trixie", &["busybox-static"], "");
const APPLETS: [&str; 2] = ["sh", "cat"];

/// What the C compiler's packages have the libraries of our programs in, and which those are (`readelf -d`).
const LIBRARIES: [&str; 3] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1"];

/// Everything, built or fetched.
pub(super) fn parts(workspace: &Workspace, arch: &'static Arch) -> Result<Parts> {
    let triple = arch.triple();
    let gcc = format!("{triple}-gcc");
    let c_library = format!("libc6-dev-{}-cross", arch.debian);
    let compiler = format!("gcc-{}", triple.replace('_', "-"));
    let emulator = emulator(arch);
    let needed: [(&str, &str); 4] =
        [(&gcc, &compiler), (&gcc, &c_library), (&emulator, "qemu-user-static"), ("patchelf", "patchelf")];
    apt_install(&needed.map(|(_, package)| package))?;
    if let Some((program, package)) = needed.iter().find(|(program, _)| which(program).is_none()) {
        bail!("{program} is not on PATH after {package} was installed");
    }
    let target = arch.target();
    run(command("rustup").args(["target", "add", &target]).current_dir(&workspace.root))
        .context("failed to get Rust's standard library for it")?;
    let cargo = || {
        let mut cargo = workspace.cargo();
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
        cargo.env(linker, &gcc);
        cargo
    };
    let mut build = cargo();
    build.args([
        "build",
        "--release",
        "--target",
        &target,
        "--package",
        "profiler-user",
        "--package",
        "xtask",
    ]);
    run(&mut build)?;
    let mut tests = cargo();
    let binaries = tests_of(tests.args(["test", "--target", &target]))?;

    let farm = Farm { cache: Cache::open(&arch.directory("interpreters"))?, arch };
    let mut interpreters = Vec::new();
    for row in INTERPRETERS {
        let tree = tree(row, arch);
        let root = farm.root(&tree)?;
        interpreters.push((tree.name.to_owned(), root.join("usr/local/bin").join(row.3)));
    }
    farm.root(&tree(SHELL, arch))?;
    let release = workspace.target_dir.join(&target).join("release");
    let [own, product] = ["xtask", "pyprof-bpf"].map(|name| release.join(name));
    Ok(Parts { own, product, binaries, interpreters })
}

fn emulator(arch: &Arch) -> String {
    format!("qemu-{}-static", arch.name)
}

fn tree((name, suite, packages, program): Row, arch: &'static Arch) -> Tree {
    Tree { name, suite, packages, program: Some(program).filter(|name| !name.is_empty()), arch }
}

struct Farm {
    cache: Cache,
    arch: &'static Arch,
}

impl Farm {
    /// Where the tree is, fetched if it is not there.
    fn root(&self, tree: &Tree) -> Result<PathBuf> {
        let root = self.cache.root(tree);
        if !self.cache.has(tree) || !root.exists() {
            self.fetch(tree, &root)
                .with_context(|| format!("failed to fetch {} of {}", tree.name, tree.suite))?;
        }
        Ok(root)
    }

    fn fetch(&self, tree: &Tree, place: &Path) -> Result<()> {
        let Arch { debian, .. } = self.arch;
        eprintln!("{} for {debian}: fetching", tree.name);
        let lock = self.cache.lock()?;
        self.cache.sweep(&lock)?;
        let mirror = Mirror::of_this_machine()?;
        let scratch = self.cache.scratch(tree.name)?;
        let lists = scratch.dir.join("lists");
        let Some(program) = tree.program else {
            let apt = Apt::of_suite(&lists, tree.suite, Some(debian), &mirror)?;
            let root = scratch.dir.join("root");
            tree.packages.iter().try_for_each(|package| apt.unpack(package, &root))?;
            return self.cache.commit(tree, &scratch, &[]);
        };
        debian::fetch(tree.suite, Some(debian), tree.packages, &mirror, &lists, &scratch.dir)?;
        self.cache.commit(tree, &scratch, &[])?;
        let found = place.join("usr/bin").join(program);
        let compiled =
            set_in_place(&found, place, self.arch.name).and_then(|program| self.compile(&program, place));
        if compiled.is_err() {
            // Else it would be taken for whole.
            fs::remove_dir_all(place).context("failed to remove what does not run")?;
        }
        compiled
    }

    /// A package has no compiled modules, and the machine that will run them is slow. This is also the first run.
    fn compile(&self, program: &Path, root: &Path) -> Result<()> {
        let name = program.file_name().context("an interpreter without a name")?;
        let mut python = command(emulator(self.arch));
        python.arg(program).args(["-I", "-S", "-m", "compileall", "-q", "-x"]);
        python.arg(format!("/({})/", closure::LEFT_OUT.join("|")));
        run(python.arg(root.join("usr/lib").join(name)))
    }
}

/// A program and its libraries, where the dynamic linker looks for them.
pub(super) fn program(archive: &mut Archive, path: &Path, arch: &Arch) -> Result<()> {
    archive.add(path)?;
    let from = Path::new("/usr").join(arch.triple()).join("lib");
    let to = Path::new("/lib").join(arch.triple());
    let loader = format!("ld-linux-{}.so.1", arch.name);
    LIBRARIES.iter().try_for_each(|name| copy(archive, &from.join(name), &to.join(name)))?;
    copy(archive, &from.join(&loader), &Path::new("/lib").join(&loader))
}

fn copy(archive: &mut Archive, from: &Path, to: &Path) -> Result<()> {
    let data = fs::read(from).with_context(|| format!("failed to read {}", from.display()))?;
    archive.bytes(to, 0o755, 0, &data)
}

/// An interpreter with the root that it was unpacked into.
pub(super) fn interpreter(archive: &mut Archive, path: &Path) -> Result<()> {
    archive.add(path)?;
    let root = path.ancestors().nth(4).context("an interpreter outside its tree")?;
    // Its library directories; not the documentation, and not what a package configures.
    for name in ["usr/lib", "lib", "lib64"] {
        let directory = root.join(name);
        match fs::read_link(&directory) {
            Ok(target) => archive.link(&directory, &target)?,
            Err(_) => archive.tree(&directory, &closure::is_wanted)?,
        }
    }
    Ok(())
}

/// The shell and its fellows, at the paths that the tests know.
pub(super) fn shell(archive: &mut Archive, arch: &'static Arch) -> Result<()> {
    let farm = Farm { cache: Cache::open(&arch.directory("interpreters"))?, arch };
    let root = farm.root(&tree(SHELL, arch))?;
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| root.join(place));
    let found = places.iter().find(|place| place.exists()).context("the package has no busybox")?;
    let place = Path::new("/bin/busybox");
    copy(archive, found, place)?;
    APPLETS.iter().try_for_each(|name| archive.link(&Path::new("/bin").join(name), place))
}
