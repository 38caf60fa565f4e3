//! The objects of a list in JSON: `{"kind":…,"metadata":{…},"items":[{…},{…}]}`, its members in any order.

use memchr::memchr2;
use serde::Deserialize;

use super::{MAX_ENVELOPE_BYTES, PageEnd, PageError, PagePart};
use crate::source::answer::{AnswerBytes, PartEnd, PartError};

/// How deep the objects of a list stand in it.
const ITEMS_DEPTH: usize = 2;

/// The objects of a page that are left to read.
pub(super) struct JsonItems {
    bytes: AnswerBytes,
    nesting: JsonNesting,
    /// The page without its objects.
    envelope: Vec<u8>,
    /// Whether the objects have begun and not ended.
    in_items: bool,
}

/// How far some JSON goes.
#[derive(Default)]
struct JsonNesting {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

#[derive(Deserialize)]
struct ListEnvelope {
    metadata: ListEnvelopeMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListEnvelopeMetadata {
    resource_version: String,
    #[serde(default)]
    r#continue: Option<String>,
}

impl JsonItems {
    pub(super) fn new(bytes: AnswerBytes) -> Self {
        Self { bytes, nesting: JsonNesting::default(), envelope: Vec::new(), in_items: false }
    }

    pub(super) async fn next(&mut self) -> Result<PagePart<'_>, PageError> {
        loop {
            let piece = self.bytes.peek().await?;
            if piece.is_empty() {
                return self.end().map(PagePart::End);
            }
            let before = piece.iter().position(|byte| {
                let begins = self.in_items
                    && matches!(byte, b'{' | b'[')
                    && !self.nesting.in_string
                    && self.nesting.depth == ITEMS_DEPTH;
                if !begins {
                    add(*byte, &mut self.nesting, &mut self.envelope, &mut self.in_items);
                }
                begins
            });
            let read = before.unwrap_or(piece.len());
            self.bytes.advance(read);
            if self.envelope.len() > MAX_ENVELOPE_BYTES {
                return Err(PageError::no_list("it has no items within its first 64 KiB"));
            }
            if before.is_some() {
                break;
            }
        }
        let nesting = &mut self.nesting;
        let mut end = |bytes: &[u8]| nesting.end(bytes, ITEMS_DEPTH);
        let mut end = PartEnd::At(&mut end);
        match self.bytes.take(&mut end).await {
            Ok(_) => {}
            Err(PartError::TooLong) => {
                self.bytes.skip(&mut end).await?;
                return Ok(PagePart::LongItem);
            }
            Err(PartError::BrokenOff(error)) => return Err(error.into()),
        }
        if self.nesting.depth > ITEMS_DEPTH {
            return Err(PageError::cut_off());
        }
        Ok(PagePart::Item(self.bytes.taken().unwrap_or_default()))
    }

    fn end(&self) -> Result<PageEnd, PageError> {
        let envelope = serde_json::from_slice::<ListEnvelope>(&self.envelope);
        let ListEnvelope { metadata } = envelope.map_err(PageError::no_list)?;
        let next = metadata.r#continue.filter(|token| !token.is_empty());
        Ok(PageEnd { version: metadata.resource_version, next })
    }
}

/// Takes in a byte that belongs to no object: adds it to the envelope, unless it stands between two.
fn add(byte: u8, nesting: &mut JsonNesting, envelope: &mut Vec<u8>, in_items: &mut bool) {
    let depth = nesting.depth;
    nesting.step(byte);
    if depth + 1 == ITEMS_DEPTH && nesting.depth == ITEMS_DEPTH && byte == b'[' {
        *in_items = follows_items(envelope);
    } else if nesting.depth < ITEMS_DEPTH {
        *in_items = false;
    } else if *in_items {
        return;
    }
    envelope.push(byte);
}

/// Returns whether what comes next is the value of `items`.
fn follows_items(envelope: &[u8]) -> bool {
    let key = envelope.trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
    key.is_some_and(|key| key.ends_with(b"\"items\""))
}

impl JsonNesting {
    /// Takes in a byte.
    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Takes in bytes up to where something closes at this depth; returns how many, if it does.
    fn end(&mut self, bytes: &[u8], depth: usize) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string && !self.is_escaped {
                at += memchr2(b'"', b'\\', &bytes[at..])?;
            }
            self.step(bytes[at]);
            at += 1;
            if self.depth == depth && !self.in_string {
                return Some(at);
            }
        }
        None
    }
}
