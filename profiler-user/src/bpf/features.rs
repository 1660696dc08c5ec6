//! What this kernel has of what not every kernel has: asked of the kernel itself, since distributions take features back
//! into kernels with old numbers.

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported};

use super::BpfError;

/// Each program with `bpf_loop`, and the one without.
const SAMPLE: [&str; 2] = ["pyprof_sample", "pyprof_bounded"];
const SWITCH: [&str; 2] = ["pyprof_switch", "pyprof_switch_b"];

/// The one that this kernel can run, or with `is_bounded` the one that any can. A probe that failed says nothing: the load
/// itself will say more.
fn choose([looped, bounded]: [&'static str; 2], kind: ProgramType, is_bounded: bool) -> &'static str {
    match is_helper_supported(kind, BpfHelper::BPF_FUNC_loop) {
        Ok(true) | Err(_) if !is_bounded => looped,
        _ => bounded,
    }
}

/// The program that follows threads off their CPUs.
pub(super) fn switch_program(bounded: bool) -> &'static str {
    choose(SWITCH, ProgramType::RawTracePoint, bounded)
}

/// The sampling program that this kernel can run; or what it lacks for any.
pub(super) fn sampling_program(bounded: bool) -> Result<&'static str, BpfError> {
    if matches!(is_map_supported(MapType::RingBuf), Ok(false)) {
        return Err(BpfError::Lacks { what: "BPF ring buffers", since: "5.8" });
    }
    Ok(choose(SAMPLE, ProgramType::PerfEvent, bounded))
}
