//! The machines that can be emulated, and what differs between them.

use std::time::Duration;

use anyhow::{Context, Result};

pub(super) struct Arch {
    /// As Rust calls it.
    pub(super) name: &'static str,
    /// As Debian calls it.
    pub(super) debian: &'static str,
    /// How the name of a kernel for virtual machines ends.
    pub(super) flavour: &'static str,
    pub(super) qemu: &'static str,
    pub(super) qemu_package: &'static str,
    pub(super) machine: &'static str,
    pub(super) cpu: &'static str,
    pub(super) console: &'static str,
    /// No kernel takes longer, with everything emulated by a busy machine.
    pub(super) limit: Duration,
    /// So much longer than on the machine that is emulated fastest may everything take.
    pub(super) slower: u64,
}

const ARCHES: [Arch; 2] = [
    Arch {
        name: "x86_64",
        debian: "amd64",
        flavour: "-cloud-amd64",
        qemu: "qemu-system-x86_64",
        qemu_package: "qemu-system-x86",
        machine: "pc",
        // All that the emulator knows. Not `cmpxchg16b`: QEMU 7.2 garbles the flags after it, and the kernel dies in its
        // allocator.
        cpu: "max,-cx16",
        console: "ttyS0",
        limit: Duration::from_secs(1500),
        slower: 1,
    },
    Arch {
        name: "aarch64",
        debian: "arm64",
        flavour: "-cloud-arm64",
        qemu: "qemu-system-aarch64",
        qemu_package: "qemu-system-arm",
        machine: "virt",
        // Debian signs return addresses, and the emulator takes most of its time for the cipher of the architecture.
        cpu: "max,pauth-impdef=on",
        console: "ttyAMA0",
        limit: Duration::from_secs(3 * 3600),
        slower: 8,
    },
];

/// That of this name, or of this machine.
pub(super) fn find(name: Option<&str>) -> Result<&'static Arch> {
    let name = name.unwrap_or(std::env::consts::ARCH);
    let names = ARCHES.each_ref().map(|arch| arch.name).join(", ");
    ARCHES
        .iter()
        .find(|arch| arch.name == name)
        .with_context(|| format!("no machine is called {name}: {names}"))
}

impl Arch {
    /// Whether programs of this machine run there.
    pub(super) fn is_ours(&self) -> bool {
        self.name == std::env::consts::ARCH
    }

    /// A directory of what is kept for it.
    pub(super) fn directory(&self, kind: &str) -> String {
        if self.is_ours() { kind.to_owned() } else { format!("{kind}-{}", self.debian) }
    }

    /// What Rust compiles for.
    pub(super) fn target(&self) -> String {
        format!("{}-unknown-linux-gnu", self.name)
    }

    /// What GCC and the directories of Debian's libraries are named by.
    pub(super) fn triple(&self) -> String {
        format!("{}-linux-gnu", self.name)
    }
}
