//! Protobuf as API servers write it: the envelope around each object, and the fields of a message.
//!
//! Everything is borrowed from the bytes that came. Nothing allocates by a length that a message claims, nothing
//! calls itself, and each field is at least a byte, so no bytes can panic, exhaust memory or be read for ever.

use std::borrow::Cow;

use thiserror::Error;

/// Protobuf's name in `Accept` and `Content-Type`.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What an envelope begins with.
pub const ENVELOPE_MARK: [u8; 4] = *b"k8s\0";

/// Why bytes are no message, or not the one that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// A field goes on after the end of its message.
    #[error("a field goes on after the end of its message")]
    CutOff,
    /// A number has more than 64 bits.
    #[error("a number has more than 64 bits")]
    LongNumber,
    /// A field is of a type that isn't used any more, or never was.
    #[error("a field has the wire type {0}")]
    UnknownType(u64),
    /// It isn't in an envelope.
    #[error("it doesn't begin with k8s\\0")]
    NoEnvelope,
    /// Something is missing without which it says nothing.
    #[error("missing field `{0}`")]
    Missing(&'static str),
}

/// A message, as far as it is read.
pub trait WireMessage: Default {
    /// Takes in a field. One that isn't known, is of another type than expected or can't be read changes nothing.
    fn field(&mut self, number: u64, value: WireValue<'_>);

    /// Takes in all fields of a message.
    ///
    /// # Errors
    ///
    /// It is no message.
    fn merge(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let mut fields = WireFields(bytes);
        while let Some((number, value)) = fields.next_field()? {
            self.field(number, value);
        }
        Ok(())
    }

    /// Returns an error if something is missing without which it says nothing.
    ///
    /// # Errors
    ///
    /// See above.
    fn check(&self) -> Result<(), WireError> {
        Ok(())
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// It is no message, or something is missing.
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut message = Self::default();
        message.merge(bytes)?;
        message.check()?;
        Ok(message)
    }
}

impl<M: WireMessage> WireMessage for Box<M> {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        (**self).field(number, value);
    }

    fn check(&self) -> Result<(), WireError> {
        (**self).check()
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireValue<'a> {
    /// A number, a truth value, or one of a set.
    Number(u64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
    /// A number of fixed length. Kubernetes has none.
    Fixed,
}

impl<'a> WireValue<'a> {
    /// Returns the bytes; none if it is a number.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// Returns the text. What is no UTF-8 in it is shown as in JSON, by U+FFFD.
    pub fn text(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes())
    }

    /// Returns the number, if it is one.
    pub fn number(self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(number.cast_signed()),
            _ => None,
        }
    }

    /// Returns the number, if it is one and has 32 bits.
    pub fn int32(self) -> Option<i32> {
        self.number().and_then(|number| i32::try_from(number).ok())
    }

    /// Returns the message, if it can be read.
    pub fn message<M: WireMessage>(self) -> Option<M> {
        match self {
            Self::Bytes(bytes) => M::decode(bytes).ok(),
            _ => None,
        }
    }

    /// Returns key and value of an entry of a map, or the first two fields of any message, if it can be read.
    pub fn entry(self) -> Option<(Self, Self)> {
        let Self::Bytes(bytes) = self else { return None };
        let (mut key, mut entry_value) = (Self::Bytes(&[]), Self::Bytes(&[]));
        let mut fields = WireFields(bytes);
        while let Some((number, value)) = fields.next_field().ok()? {
            match number {
                1 => key = value,
                2 => entry_value = value,
                _ => {}
            }
        }
        Some((key, entry_value))
    }
}

/// The fields of a message that are left to read.
#[derive(Clone, Copy, Debug)]
pub struct WireFields<'a>(pub &'a [u8]);

impl<'a> WireFields<'a> {
    /// Returns the number and the value of the next field; `None` at the end.
    ///
    /// # Errors
    ///
    /// There is no field.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<(u64, WireValue<'a>)>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => WireValue::Number(self.number()?),
            1 => self.take(8).map(|_| WireValue::Fixed)?,
            2 => {
                let length = self.number()?;
                WireValue::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| WireValue::Fixed)?,
            other => return Err(WireError::UnknownType(other)),
        };
        Ok(Some((tag >> 3, value)))
    }

    #[inline]
    fn number(&mut self) -> Result<u64, WireError> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (&byte, rest) = self.0.split_first().ok_or(WireError::CutOff)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
            if shift >= 64 {
                return Err(WireError::LongNumber);
            }
        }
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(length).map_err(|_| WireError::CutOff)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::CutOff)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Returns the object in an envelope (`runtime.Unknown`).
///
/// # Errors
///
/// It is no envelope.
pub fn open_envelope(bytes: &[u8]) -> Result<&[u8], WireError> {
    let mut fields = WireFields(bytes.strip_prefix(&ENVELOPE_MARK).ok_or(WireError::NoEnvelope)?);
    let mut object: &[u8] = &[];
    while let Some((number, value)) = fields.next_field()? {
        if number == 2 {
            object = value.bytes();
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u64, WireValue<'_>)>, WireError> {
        let (mut fields, mut read) = (WireFields(bytes), Vec::new());
        while let Some(field) = fields.next_field()? {
            read.push(field);
        }
        Ok(read)
    }

    #[test]
    fn fields_of_every_type_are_read() {
        let bytes = b"\x08\x96\x01\x12\x02hi\x19abcdefgh\x25abcd\x98\x06\x00";
        let expected = [
            (1, WireValue::Number(150)),
            (2, WireValue::Bytes(b"hi")),
            (3, WireValue::Fixed),
            (4, WireValue::Fixed),
            (99, WireValue::Number(0)),
        ];
        assert_eq!(fields(bytes).unwrap(), expected);
        let minus_one = fields(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").unwrap();
        assert_eq!(minus_one[0].1.int32(), Some(-1));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for (bytes, error) in [
            (&b"\x08"[..], WireError::CutOff),
            (b"\x88", WireError::CutOff),
            (b"\x12\x05four", WireError::CutOff),
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", WireError::CutOff),
            (b"\x09short", WireError::CutOff),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", WireError::LongNumber),
            (b"\x0b", WireError::UnknownType(3)),
            (b"<html>", WireError::UnknownType(4)),
        ] {
            assert_eq!(fields(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn an_envelope_is_opened() {
        assert_eq!(open_envelope(b"k8s\0\x0a\x03\x12\x01P\x12\x02hi\x1a\x00\x22\x00"), Ok(&b"hi"[..]));
        assert_eq!(open_envelope(b"k8s\0"), Ok(&b""[..]));
        assert_eq!(open_envelope(b"{\"kind\":\"Pod\"}"), Err(WireError::NoEnvelope));
    }

    #[test]
    fn an_entry_of_a_map_may_lack_either() {
        let entry = |bytes| WireValue::Bytes(bytes).entry().unwrap();
        assert_eq!(entry(b"\x0a\x01k\x12\x01v"), (WireValue::Bytes(b"k"), WireValue::Bytes(b"v")));
        assert_eq!(entry(b"\x12\x01v"), (WireValue::Bytes(b""), WireValue::Bytes(b"v")));
    }
}
