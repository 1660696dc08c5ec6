//! `_Py_DebugOffsets` as a hostile process may show them: what is believed keeps every promise that readers of a `Layout`
//! rely on.
#![no_main]

use pyprof_fuzz::{snapshots, target};
use pyunwind::Layout;
use pyunwind::host::debug_offsets::{MAX_BYTES, is_verified, parse, version};
use pyunwind::layout::{ABSENT, ABSENT_32};

target!(seeds, check);

const MAX_STATE_BYTES: u32 = 1 << 24;

fn check(data: &[u8]) {
    let parsed = parse(data);
    if let Ok(layout) = parsed {
        let (hex, _) = version(data).expect("what is believed has a version");
        assert!(hex >> 24 == 3 && (hex >> 16) & 0xff == layout.minor.into() && layout.minor >= 13);
        let _ = is_verified(hex);
        promises(&layout);
        // What stands behind the table does not matter.
        let more: Vec<u8> = data.iter().copied().chain([0xff; MAX_BYTES]).collect();
        assert_eq!(parse(&more), Ok(layout));
    }
    assert_eq!(parsed, parse(data));
}

/// `width` bytes of a field are within the words that are read of its structure, and do not cross one of them.
fn inside(field: u16, width: u32, start: u16, span: u16, name: &str) {
    if field == ABSENT {
        return;
    }
    let (field, start, end) = (u32::from(field), u32::from(start), u32::from(start) + u32::from(span));
    assert!(field >= start && field + width <= end, "{name}: {field} is outside of {start}..{end}");
    assert!(field % 8 + width <= 8, "{name}: {field} is spread over two words");
}

fn promises(layout: &Layout) {
    let Layout { thread_span, frame_start, frame_span, code_start, code_span, .. } = *layout;
    // As `Layout` documents them: what the BPF program has room for.
    assert!(thread_span % 8 == 0 && thread_span < 512, "thread_span {thread_span}");
    assert!(frame_start % 8 == 0 && frame_span % 8 == 0 && frame_span < 128, "frame_span {frame_span}");
    assert!(code_start % 8 == 0 && code_span % 8 == 0 && code_span <= 256, "code_span {code_span}");
    let threads = [
        (layout.thread_next, "next"),
        (layout.thread_interp, "interp"),
        (layout.thread_frame, "current_frame"),
        (layout.thread_thread_id, "thread_id"),
        (layout.thread_status, "_status"),
        (layout.thread_datastack_top, "datastack_top"),
        (layout.thread_datastack_top + 8, "datastack_limit"),
    ];
    threads.iter().for_each(|(field, name)| inside(*field, 8, 0, thread_span, name));
    let frames = [
        (layout.frame_code, 8, "executable"),
        (layout.frame_back, 8, "previous"),
        (layout.frame_instr, 8, "instr_ptr"),
        (layout.frame_owner, 1, "owner"),
        (layout.frame_tlbc_index, 4, "tlbc_index"),
    ];
    frames.iter().for_each(|(field, width, name)| inside(*field, *width, frame_start, frame_span, name));
    let codes = [
        (layout.code_firstlineno, 4, "co_firstlineno"),
        (layout.code_filename, 8, "co_filename"),
        (layout.code_name, 8, "co_name"),
        (layout.code_qualname, 8, "co_qualname"),
        (layout.code_linetable, 8, "co_linetable"),
        (layout.code_version, 4, "co_version"),
    ];
    codes.iter().for_each(|(field, width, name)| inside(*field, *width, code_start, code_span, name));
    let states = [
        layout.runtime_interpreters_head,
        layout.interpreter_next,
        layout.interpreter_threads_head,
        layout.interpreter_id,
        layout.interpreter_gc_collecting,
        layout.interpreter_gc_frame,
    ];
    for offset in states {
        assert!(offset == ABSENT_32 || offset <= MAX_STATE_BYTES, "{offset} is far outside of any state");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let tables = snapshots::all().into_iter().map(|recorded| recorded.offsets);
    tables.filter(|table| !table.is_empty()).collect()
}
