//! The outermost level of a protobuf message, one field at a time and without a copy: decoded as a whole, a message of two
//! bytes that is repeated a hundred million times would take forty times its size.

use super::{DecodeError, malformed};

/// A field of a message; groups, which no profile has, are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a fixed width: no field of a profile, so skipped like any that is not known.
    Fixed,
}

/// All fields of a message, in the order they stand. After an error comes nothing.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message, whole: message.len() }
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = varint(&mut self.rest)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.rest)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = usize::try_from(varint(&mut self.rest)?).ok()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        (key >> 3 != 0).then_some((key >> 3, value))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.whole - self.rest.len();
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or_else(|| malformed(format!("no field of a message at byte {at}"))))
    }
}

/// Numbers of a repeated field, packed or not.
pub(super) fn numbers(value: Value<'_>) -> impl Iterator<Item = u64> + '_ {
    let (single, mut packed) = match value {
        Value::Number(number) => (Some(number), &[][..]),
        Value::Bytes(bytes) => (None, bytes),
        Value::Fixed => (None, &[][..]),
    };
    single.into_iter().chain(std::iter::from_fn(move || varint(&mut packed)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_whole_or_not_at_all() {
        type Row<'a> = (&'a [u8], &'a [(u64, Value<'a>)], bool);
        let rows: &[Row<'_>] = &[
            (&[], &[], true),
            (&[0x08, 0x96, 0x01], &[(1, Value::Number(150))], true),
            (&[0x12, 2, 7, 8, 0x10, 1], &[(2, Value::Bytes(&[7, 8])), (2, Value::Number(1))], true),
            (
                &[0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0x0d, 0, 0, 0, 0],
                &[(1, Value::Fixed), (1, Value::Fixed)],
                true,
            ),
            // Cut in a key, in a number, in a length, in bytes; no such type, no such field, too long a number.
            (&[0x80], &[], false),
            (&[0x08, 0x96], &[], false),
            (&[0x12], &[], false),
            (&[0x12, 3, 7, 8], &[], false),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[], false),
            (&[0x0b], &[], false),
            (&[0x00, 1], &[], false),
            (&[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], &[], false),
        ];
        for (bytes, expected, whole) in rows {
            let all: Vec<_> = Fields::of(bytes).collect();
            let read: Vec<_> = all.iter().filter_map(|field| field.clone().ok()).collect();
            assert_eq!((read.as_slice(), all.len() == read.len()), (*expected, *whole), "{bytes:x?}");
        }
        assert_eq!(numbers(Value::Bytes(&[1, 0x96, 1, 0x80])).collect::<Vec<_>>(), [1, 150]);
        assert_eq!(numbers(Value::Number(7)).collect::<Vec<_>>(), [7]);
    }
}
