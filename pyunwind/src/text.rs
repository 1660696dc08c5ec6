//! The shape of a `str`: which form a string object has decides where its characters stand and how wide they are.
//! Apart from the decoding, because a BPF program needs the shape too: no allocation here.

use crate::Layout;
use crate::layout::TEXT_BYTES;

/// What the `state` word of a string says of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StrShape {
    /// Bytes per character: 1 (Latin-1), 2 (UCS-2) or 4 (UCS-4). Anything else is not a usable string: 0 marks one
    /// that was never made ready (3.11 and older), which a code object cannot hold.
    pub kind: u8,
    /// The characters follow the object itself; otherwise (instances of subclasses of `str`) a pointer to them does.
    pub compact: bool,
    pub ascii: bool,
    /// Not characters but bytes in some encoding (2.7).
    pub bytes: bool,
}

impl StrShape {
    /// Splits the 32 bits at [`Layout::str_state`]: `interned`, then `kind:3 compact:1 ascii:1`
    /// (`Include/cpython/unicodeobject.h`, `PyASCIIObject.state`; the same order from 3.3 to 3.14).
    #[inline(always)]
    pub const fn from_state(state: u32, layout: &Layout) -> StrShape {
        if layout.text == TEXT_BYTES {
            return StrShape { kind: 1, compact: true, ascii: true, bytes: true };
        }
        let bits = state >> kind_shift(layout);
        StrShape { kind: (bits & 7) as u8, compact: bits & 8 != 0, ascii: bits & 16 != 0, bytes: false }
    }

    /// Whether a string object can have this shape at all; everything else read from it is noise when not.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        match self.kind {
            1 => true,
            2 | 4 => !self.ascii,
            _ => false,
        }
    }

    /// Where the characters of a compact string stand, from the start of the object. For any other string the
    /// pointer to them stands at [`Layout::str_compact_data`] (`PyUnicodeObject.data`).
    #[inline(always)]
    pub const fn compact_data(self, layout: &Layout) -> u16 {
        if self.ascii { layout.str_ascii_data } else { layout.str_compact_data }
    }
}

/// How wide `interned` is: 2 bits, but a byte of its own in the free-threaded builds from 3.14 on, where it is
/// accessed atomically. Those builds are known by their larger object head (`ob_type` at 24 instead of 8).
#[inline(always)]
const fn kind_shift(layout: &Layout) -> u32 {
    if layout.minor >= 14 && layout.object_type > 8 { 8 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::StrShape;
    use crate::Layout;
    use bytemuck::Zeroable;

    #[test]
    fn the_state_word_splits_as_each_build_packs_it() {
        // State words as gcc packs the struct of each build, lowest bits first: interned, kind, compact, ascii, then
        // ready or statically_allocated. (minor, ob_type, word, expected)
        let shape = |kind, compact, ascii| StrShape { kind, compact, ascii, bytes: false };
        let rows = [
            (8, 8, 0xe5, shape(1, true, true)),
            (11, 8, 0xa8, shape(2, true, false)),
            (11, 8, 0x90, shape(4, false, false)),
            (12, 8, 0xe7, shape(1, true, true)),
            (13, 24, 0x26, shape(1, true, false)),
            (14, 8, 0x31, shape(4, true, false)),
            (14, 24, 0x1903, shape(1, true, true)),
        ];
        for (minor, object_type, state, expected) in rows {
            let layout = Layout { minor, object_type, ..Layout::zeroed() };
            assert_eq!(StrShape::from_state(state, &layout), expected, "3.{minor}, {state:#b}");
            assert!(expected.is_valid());
        }
        for shape in
            [shape(0, true, true), shape(3, true, false), shape(2, true, true), shape(7, false, false)]
        {
            assert!(!shape.is_valid(), "{shape:?}");
        }
    }
}
