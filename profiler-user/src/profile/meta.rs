//! What is known about a capture and about each process beside the samples: the facts that files and reports head with.

/// One process image: from exec (or fork, or the start of the capture) to the next exec or the exit.
#[derive(Clone, Debug, Default)]
pub struct ProcessMeta {
    pub pid: u32,
    /// Start of the process in the boot clock, as the kernel has it.
    pub start_boot_ns: u64,
    /// Basename of the script or module, else of the program. Nothing else of the command line is ever recorded.
    pub name: String,
    /// What the kernel calls it, and every thread of it that nobody named.
    pub comm: String,
    /// Path of the executable as the process sees it.
    pub executable: String,
    /// As the interpreter states it, such as `3.12.1`.
    pub python_version: String,
    /// No release of a version that is tested: unwound by what the interpreter says of its own structures.
    pub is_unverified: bool,
    /// A question about it never came to an end: names of it, its threads or its code may be missing.
    pub is_unresponsive: bool,
    pub mapping: ExecutableMapping,
    pub labels: Labels,
    /// Where threads were followed off their CPUs.
    pub off_cpu: Option<OffCpuMeta>,
}

/// How the threads of a process spent the time in which they did not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffCpuMeta {
    /// What was written of it; none where writing failed.
    pub file: Option<String>,
    /// Waiting for something: every nanosecond and every time.
    pub blocked_ns: u64,
    pub blocked: u64,
    /// Ready to run, while others had the CPUs.
    pub runnable_ns: u64,
    pub preempted: u64,
    /// Blocks for which others stand in the profile.
    pub not_walked: u64,
    /// What the profile shows.
    pub profile_ns: u64,
    /// Blocked time that the memory cap kept out of the profile.
    pub dropped_ns: u64,
}

impl ProcessMeta {
    /// The service as its owner named it, else the name.
    pub fn service(&self) -> &str {
        self.labels.service.as_deref().unwrap_or(&self.name)
    }
}

/// What an operator knows a process by; all of it is the same for all samples of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Only as given; a service that nobody named is called by the name of the process.
    pub service: Option<String>,
    pub env: Option<String>,
    pub version: Option<String>,
    pub container_id: Option<String>,
    pub pod_uid: Option<String>,
    pub unit: Option<String>,
}

impl Labels {
    /// Those that are known, under the names they have in every output.
    pub fn known(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Labels { service, env, version, container_id, pod_uid, unit } = self;
        [
            ("service", service),
            ("env", env),
            ("version", version),
            ("container_id", container_id),
            ("pod_uid", pod_uid),
            ("unit", unit),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref().filter(|value| !value.is_empty())?)))
    }
}

/// Where the executable's text is mapped.
#[derive(Clone, Debug, Default)]
pub struct ExecutableMapping {
    pub start: u64,
    pub limit: u64,
    pub file_offset: u64,
    /// GNU build id in hexadecimal.
    pub build_id: Option<String>,
}

/// A change of the sampling frequency while the capture ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrequencyChange {
    pub after_ns: u64,
    pub frequency_hz: u32,
}

/// The account of the sampling event itself. Each is counted on its own, none is the rest of others: that `delivered`
/// equals the sum of `idle`, `other`, `on_python` and the losses before sampling is a finding, not a definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    pub expected: u64,
    pub delivered: u64,
    pub idle: u64,
    /// On processes that are no followed Pythons, and on those that turned out not to be.
    pub other: u64,
    pub on_python: u64,
    /// Weight of those, as the kernel summed it.
    pub on_python_ns: u64,
}

/// Something that is missing from the profiles, under the name of its counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub name: String,
    pub count: u64,
}

/// A Python that was seen and could not be profiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsupportedProcess {
    pub pid: u32,
    pub name: String,
    pub reason: String,
}

/// All of them, and how many more there were than are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsupported {
    pub listed: Vec<UnsupportedProcess>,
    pub more: u64,
}

/// Which processes were asked for, and what was left out for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// By the names of the options without their dashes; nothing: every Python process.
    pub asked: Vec<(String, Vec<String>)>,
    /// Python processes that were found and not selected.
    pub left_out: u64,
    /// Ticks on them: none was unwound.
    pub left_out_ticks: u64,
}

/// What the profiler itself has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnCost {
    pub cpu_ns: u64,
    pub peak_rss_bytes: u64,
    pub kernel_bytes: u64,
}

/// One capture of a host.
#[derive(Clone, Debug, Default)]
pub struct CaptureMeta {
    pub tool_version: String,
    pub host: String,
    pub kernel: String,
    /// Wall clock of the start.
    pub start_unix_ns: u64,
    /// The same instant in the boot clock, which dates processes.
    pub start_boot_ns: u64,
    /// And in the monotonic clock, which dates samples.
    pub start_monotonic_ns: u64,
    pub duration_ns: u64,
    pub frequency_hz: u32,
    pub frequency_changes: Vec<FrequencyChange>,
    pub selected: Selected,
    pub ticks: Ticks,
    pub losses: Vec<Loss>,
    /// What files said that this was made from, when it was read and not captured.
    pub notes: Vec<String>,
    pub own_cost: OwnCost,
}

impl CaptureMeta {
    /// The wall clock time of an instant of the boot clock, before or after the start.
    pub fn unix_ns_of_boot(&self, boot_ns: u64) -> u64 {
        let unix = i128::from(self.start_unix_ns) + i128::from(boot_ns) - i128::from(self.start_boot_ns);
        u64::try_from(unix.max(0)).unwrap_or(u64::MAX)
    }

    /// The wall clock time of an instant of the monotonic clock.
    pub fn unix_ns_of_monotonic(&self, monotonic_ns: u64) -> u64 {
        let unix =
            i128::from(self.start_unix_ns) + i128::from(monotonic_ns) - i128::from(self.start_monotonic_ns);
        u64::try_from(unix.max(0)).unwrap_or(u64::MAX)
    }

    /// Nanoseconds between two ticks as asked for; 0 for what is not sampled by time.
    pub fn period_ns(&self) -> u64 {
        1_000_000_000u64.checked_div(self.frequency_hz.into()).unwrap_or(0)
    }
}
