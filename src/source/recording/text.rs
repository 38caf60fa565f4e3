//! Reads a text as UTF-8, whether it is UTF-8 or UTF-16, and knows where in it the next byte stands.

use std::io::{self, BufRead};

use memchr::{memchr_iter, memrchr};
use serde_json::Error;
use untrusted::one_line;

use super::RecordingError;

/// A place in the input, from line 1 and column 1. Columns count bytes.
#[derive(Clone, Copy)]
pub(super) struct TextPlace {
    pub line: usize,
    column: usize,
}

/// The input. UTF-16 is told by its byte order mark, or by the zero in one of its first two bytes.
pub(super) struct RecordedText<R> {
    input: R,
    encoding: Option<TextEncoding>,
    /// What was read and not yet taken, in UTF-8. It goes before what the input has.
    ahead: Vec<u8>,
    /// The beginning of a character of UTF-16 whose end isn't read yet.
    half: Vec<u8>,
    place: TextPlace,
}

#[derive(Clone, Copy)]
enum TextEncoding {
    Utf8,
    Utf16(fn([u8; 2]) -> u16),
}

impl TextPlace {
    const BEGIN: Self = Self { line: 1, column: 1 };

    /// Goes on to the end of these bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        match memrchr(b'\n', bytes) {
            Some(newline) => {
                self.line += memchr_iter(b'\n', bytes).count();
                self.column = bytes.len() - newline;
            }
            None => self.column += bytes.len(),
        }
    }

    /// Returns the error of an object that begins here and has no end.
    pub(super) fn unfinished(self) -> RecordingError {
        RecordingError::Unfinished { line: self.line }
    }

    /// Returns the error of what begins here, for this reason.
    pub(super) fn wrong(self, reason: &str) -> RecordingError {
        RecordingError::Malformed { line: self.line, reason: one_line(reason) }
    }

    /// Returns the error of JSON that begins here.
    pub(super) fn malformed(self, error: &Error) -> RecordingError {
        let column = if error.line() > 1 { error.column() } else { self.column + error.column() - 1 };
        let text = error.to_string();
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        RecordingError::Malformed {
            line: self.line + error.line().saturating_sub(1),
            reason: one_line(&format!("{reason} (column {column})")),
        }
    }
}

impl<R: BufRead> RecordedText<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, encoding: None, ahead: Vec::new(), half: Vec::new(), place: TextPlace::BEGIN }
    }

    /// Returns where the next byte stands.
    pub(super) fn place(&self) -> TextPlace {
        self.place
    }

    /// Returns what comes next, as much of it as there is without waiting, but at least a byte unless the
    /// text is at its end.
    pub(super) fn fill(&mut self) -> Result<&[u8], RecordingError> {
        let line = self.place.line;
        self.fill_ahead().map_err(|source| RecordingError::Unreadable { line, source })?;
        self.next_bytes().map_err(|source| RecordingError::Unreadable { line, source })
    }

    /// Takes so many bytes of those that [`fill`](Self::fill) returned.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), RecordingError> {
        let (line, mut place) = (self.place.line, self.place);
        let next = self.next_bytes().map_err(|source| RecordingError::Unreadable { line, source })?;
        place.pass(&next[..bytes]);
        self.place = place;
        if self.ahead.is_empty() {
            self.input.consume(bytes);
        } else {
            self.ahead.drain(..bytes);
        }
        Ok(())
    }

    fn next_bytes(&mut self) -> io::Result<&[u8]> {
        match self.encoding {
            Some(TextEncoding::Utf8) if self.ahead.is_empty() => self.input.fill_buf(),
            _ => Ok(&self.ahead),
        }
    }

    fn fill_ahead(&mut self) -> io::Result<()> {
        if self.encoding.is_none() {
            self.encoding = Some(self.detect()?);
        }
        let Some(TextEncoding::Utf16(unit)) = self.encoding else { return Ok(()) };
        while self.ahead.is_empty() {
            let read = self.input.fill_buf()?;
            if read.is_empty() {
                return if self.half.is_empty() { Ok(()) } else { Err(half_a_character()) };
            }
            self.half.extend_from_slice(read);
            let read = read.len();
            self.input.consume(read);
            self.decode(unit);
        }
        Ok(())
    }

    /// Turns what was read into UTF-8, up to the last whole character.
    fn decode(&mut self, unit: fn([u8; 2]) -> u16) {
        let (pairs, _) = self.half.as_chunks::<2>();
        let is_whole = pairs.last().is_none_or(|last| !(0xD800..0xDC00).contains(&unit(*last)));
        let pairs = &pairs[..pairs.len() - usize::from(!is_whole)];
        for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
            let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.ahead.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        let decoded = pairs.len() * 2;
        self.half.drain(..decoded);
    }

    /// Finds the encoding. No JSON in UTF-8 begins with a mark of UTF-16, or has a zero byte.
    fn detect(&mut self) -> io::Result<TextEncoding> {
        let (little, big) =
            (TextEncoding::Utf16(u16::from_le_bytes), TextEncoding::Utf16(u16::from_be_bytes));
        let mut first = Vec::new();
        while let (0..2, read) = (first.len(), self.input.fill_buf()?)
            && !read.is_empty()
        {
            first.push(read[0]);
            self.input.consume(1);
        }
        let encoding = match first[..] {
            [0xFF, 0xFE] | [_, 0] => little,
            [0xFE, 0xFF] | [0, _] => big,
            _ => TextEncoding::Utf8,
        };
        match encoding {
            TextEncoding::Utf8 => self.ahead = first,
            TextEncoding::Utf16(_) => self.half = first,
        }
        Ok(encoding)
    }
}

fn half_a_character() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it is UTF-16 and ends in the middle of a character")
}
