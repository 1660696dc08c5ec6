//! The fuzz targets, as data: each is a file of `fuzz/fuzz_targets`.

pub(super) struct Target {
    pub(super) name: &'static str,
    /// The longest input: enough for the longest seed.
    pub(super) max_len: u32,
    /// Whether it is about `profiler-user`, which takes longer to build.
    pub(super) user: bool,
}

const fn target(name: &'static str, max_len: u32) -> Target {
    Target { name, max_len, user: false }
}

const fn user(name: &'static str, max_len: u32) -> Target {
    Target { name, max_len, user: true }
}

pub(super) const TARGETS: [Target; 14] = [
    target("unwind", 16 << 10),
    target("thread_names", 32 << 10),
    target("code_object", 8 << 10),
    target("strings", 4 << 10),
    target("lines", 4 << 10),
    target("debug_offsets", 1 << 10),
    user("elf", 16 << 10),
    user("core", 64 << 10),
    user("maps", 4 << 10),
    user("cgroup", 4 << 10),
    user("environ", 4 << 10),
    user("rings", 8 << 10),
    user("mappings", 4 << 10),
    user("pprof", 8 << 10),
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_a_target_has_its_row_and_its_program() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fuzz");
        let mut files: Vec<String> = fs::read_dir(fuzz.join("fuzz_targets"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let mut rows: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        rows.sort();
        assert_eq!(files, rows);
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for Target { name, user, .. } in &TARGETS {
            let features = if *user { "required-features = [\"user\"]\n" } else { "" };
            let program =
                format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n{features}");
            assert!(manifest.contains(&format!("{program}test = false")), "{name}");
        }
    }
}
