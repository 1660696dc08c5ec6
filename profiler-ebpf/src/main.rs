//! The BPF programs of pyprof-bpf: a table of contents.
//!
//! * `sources`: what makes a tick, one file per source. All end in `collect`.
//! * `collect`: one sample: whose thread, which stack, what outcome.
//! * `drive`: what repeats the steps of a walk: `bpf_loop`, or a `for` where the kernel lacks that.
//! * `capture`: code objects on first sight.
//! * `lifecycle`: exec, fork, exit.
//! * `memory`, `sink`, `scratch`: what `pyunwind` reads through and writes to.
//! * `output`: the way to user space.
//! * `task`, `arch`: the few facts of the kernel and the CPU.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod arch;
mod bound;
mod capture;
mod collect;
mod drive;
mod lifecycle;
mod maps;
mod memory;
mod nested;
mod output;
mod scratch;
mod sink;
mod sources;
mod task;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Nothing here can panic; the verifier would reject a program that reached this loop.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
