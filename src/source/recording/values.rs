//! Cuts a text into the JSON values that stand in it one after the other, each as soon as it is complete.

use std::{
    collections::VecDeque,
    io::{self, BufRead, Read},
    ops::Range,
};

use serde::Deserialize;
use serde_json::{Deserializer, Error, value::RawValue};
use untrusted::one_line;

use super::RecordingError;

/// How much is shown of what is no JSON.
const MAX_SHOWN_BYTES: usize = 20;

/// A JSON object or list, and where in the input it begins.
pub(super) struct RecordedValue {
    json: Box<RawValue>,
    begins: TextPlace,
}

/// A place in the input, from line 1 and column 1. Columns count bytes.
#[derive(Clone, Copy)]
struct TextPlace {
    line: usize,
    column: usize,
}

/// The input, of which one value after the other is taken. It is UTF-8, or UTF-16 with a byte order mark.
pub(super) struct RecordedValues<R> {
    input: R,
    encoding: Option<Encoding>,
    /// What was read and not yet taken, in UTF-8.
    ahead: VecDeque<u8>,
    /// The byte that was taken last.
    last: u8,
    /// Where the next byte stands.
    place: TextPlace,
}

#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Utf16(fn([u8; 2]) -> u16),
}

impl RecordedValue {
    pub(super) fn json(&self) -> &str {
        self.json.get()
    }

    /// Returns where in the value a part of it stands.
    pub(super) fn range_of(&self, part: &RawValue) -> Range<usize> {
        let begin = part.get().as_ptr().addr() - self.json().as_ptr().addr();
        begin..begin + part.get().len()
    }

    /// Returns the error of a part that begins at `offset`, with its place in the input.
    pub(super) fn malformed(&self, offset: usize, error: &Error) -> RecordingError {
        let mut place = self.begins;
        self.json().bytes().take(offset).for_each(|byte| place.pass(byte));
        place.malformed(error)
    }
}

impl TextPlace {
    fn pass(&mut self, byte: u8) {
        match byte {
            b'\n' => *self = Self { line: self.line + 1, column: 1 },
            _ => self.column += 1,
        }
    }

    /// Returns the error of what begins here.
    fn malformed(self, error: &Error) -> RecordingError {
        let column = if error.line() > 1 { error.column() } else { self.column + error.column() - 1 };
        let text = error.to_string();
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        RecordingError::Malformed {
            line: self.line + error.line().saturating_sub(1),
            reason: one_line(&format!("{reason} (column {column})")),
        }
    }
}

impl<R: BufRead> RecordedValues<R> {
    pub(super) fn new(input: R) -> Self {
        let place = TextPlace { line: 1, column: 1 };
        Self { input, encoding: None, ahead: VecDeque::new(), last: b'\n', place }
    }

    fn next_value(&mut self) -> Result<Option<RecordedValue>, RecordingError> {
        let first = self.skip_space();
        let Some(first) = first.map_err(|source| self.unreadable(source))? else { return Ok(None) };
        let begins = self.place;
        if !matches!(first, b'{' | b'[') {
            let begins_with = self.word().map_err(|source| self.unreadable(source))?;
            return Err(RecordingError::NoJson { line: begins.line, begins_with });
        }
        let error = match Box::<RawValue>::deserialize(&mut Deserializer::from_reader(&mut *self)) {
            Ok(json) => return Ok(Some(RecordedValue { json, begins })),
            Err(error) => error,
        };
        // Within an object every line is indented: one that isn't begins the next.
        let begins_anew = error.line() > 1 && error.column() == 1 && self.last == b'{';
        Err(if error.is_io() {
            self.unreadable(error.into())
        } else if error.is_eof() || begins_anew {
            RecordingError::Unfinished { line: begins.line }
        } else {
            begins.malformed(&error)
        })
    }

    /// Passes over white space and byte order marks; returns the byte after it, which isn't taken.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\r' | b'\n' | 0xEF | 0xBB | 0xBF) => self.take()?,
                other => return Ok(other),
            };
        }
    }

    /// Takes what comes next up to white space, or the beginning of it.
    fn word(&mut self) -> io::Result<String> {
        let mut word = Vec::new();
        while let Some(byte) = self.take()?.filter(|byte| !byte.is_ascii_whitespace()) {
            word.push(byte);
            if word.len() == MAX_SHOWN_BYTES {
                break;
            }
        }
        Ok(one_line(&String::from_utf8_lossy(&word)))
    }

    fn unreadable(&self, source: io::Error) -> RecordingError {
        RecordingError::Unreadable { line: self.place.line, source }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.ahead.is_empty() {
            self.decode()?;
        }
        Ok(self.ahead.front().copied())
    }

    fn take(&mut self) -> io::Result<Option<u8>> {
        self.peek()?;
        let byte = self.ahead.pop_front();
        if let Some(byte) = byte {
            self.last = byte;
            self.place.pass(byte);
        }
        Ok(byte)
    }

    /// Reads a character ahead, unless the input is at its end.
    fn decode(&mut self) -> io::Result<()> {
        if self.encoding.is_none() {
            self.encoding = Some(self.detect()?);
        }
        match self.encoding {
            None | Some(Encoding::Utf8) => {
                let byte = self.byte()?;
                self.ahead.extend(byte);
            }
            Some(Encoding::Utf16(unit)) => {
                let Some(first) = self.unit(unit)? else { return Ok(()) };
                let second = if matches!(first, 0xD800..0xDC00) { self.unit(unit)? } else { None };
                for character in char::decode_utf16([first].into_iter().chain(second)) {
                    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                    self.ahead.extend(character.encode_utf8(&mut [0; 4]).bytes());
                }
            }
        }
        Ok(())
    }

    /// Finds the encoding by the mark of UTF-16, which no JSON in UTF-8 begins with.
    fn detect(&mut self) -> io::Result<Encoding> {
        let first = self.byte()?;
        let encoding = match first {
            Some(0xFF) => Encoding::Utf16(u16::from_le_bytes),
            Some(0xFE) => Encoding::Utf16(u16::from_be_bytes),
            _ => {
                self.ahead.extend(first);
                return Ok(Encoding::Utf8);
            }
        };
        self.byte()?;
        Ok(encoding)
    }

    fn unit(&mut self, unit: fn([u8; 2]) -> u16) -> io::Result<Option<u16>> {
        let pair = self.byte()?.zip(self.byte()?);
        Ok(pair.map(|(first, second)| unit([first, second])))
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        self.input.by_ref().bytes().next().transpose()
    }
}

/// Objects and lists, each without waiting for what follows it. It ends with the input, and is of no use
/// after an error.
impl<R: BufRead> Iterator for RecordedValues<R> {
    type Item = Result<RecordedValue, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_value().transpose()
    }
}

/// One byte at a time: what follows a value is not taken with it.
impl<R: BufRead> Read for RecordedValues<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(slot) = buffer.first_mut() else { return Ok(0) };
        Ok(self.take()?.map(|byte| *slot = byte).iter().count())
    }
}
