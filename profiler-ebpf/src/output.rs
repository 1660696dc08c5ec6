//! The way of samples and code objects to user space.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::bpf_ringbuf_output;

use crate::maps::{SAMPLES, SETTINGS};

/// Puts a record on the sample ring. The reader is woken at once with `wake`, or when enough waits; else it comes by itself.
#[inline(always)]
pub fn output(data: *mut c_void, bytes: u64, wake: bool) -> bool {
    let waiting = SAMPLES.query(u64::from(BPF_RB_AVAIL_DATA));
    let flags = if wake || waiting > u64::from(SETTINGS.load().wakeup_bytes) {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    let ring = &raw const SAMPLES as *mut c_void;
    // SAFETY: `data` points at a map value with at least `bytes` bytes, which the verifier checks.
    unsafe { bpf_ringbuf_output(ring, data, bytes, u64::from(flags)) == 0 }
}
