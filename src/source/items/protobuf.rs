//! The objects of a list in Protobuf: an envelope (`runtime.Unknown`: its kind, then the list), in which a list
//! is its metadata and then its objects.

use std::io;

use cluster::protobuf::{ENVELOPE_MARK, WireError, WireMessage, WireValue};

use super::{MAX_ENVELOPE_BYTES, PageEnd, PageError, PagePart};
use crate::source::answer::{AnswerBytes, MAX_PART_BYTES, PartEnd, PartError};

/// The objects of a page that are left to read.
pub(super) struct ProtobufItems {
    bytes: AnswerBytes,
    /// How many bytes of the list are left; `None` before and after it.
    left: Option<usize>,
    metadata: PageMetadata,
}

/// `metav1.ListMeta`, as far as it is read.
#[derive(Default)]
struct PageMetadata {
    version: String,
    next: String,
}

impl WireMessage for PageMetadata {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            2 => self.version = value.text().into_owned(),
            3 => self.next = value.text().into_owned(),
            _ => {}
        }
    }
}

/// `runtime.TypeMeta`, as far as it is read.
#[derive(Default)]
struct ObjectKind(String);

impl WireMessage for ObjectKind {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        if number == 2 {
            self.0 = value.text().into_owned();
        }
    }
}

/// A field of which the value hasn't come yet.
struct FieldHead {
    number: u64,
    /// How many bytes its value has.
    length: usize,
    /// Whether it is a number, which has come.
    is_number: bool,
}

impl ProtobufItems {
    pub(super) fn new(bytes: AnswerBytes) -> Self {
        Self { bytes, left: None, metadata: PageMetadata::default() }
    }

    pub(super) async fn next(&mut self) -> Result<PagePart<'_>, PageError> {
        if self.left.is_none() {
            self.left = Some(self.begin().await?);
        }
        while self.left > Some(0) {
            let field = self.head().await?;
            self.pass(field.length)?;
            match field.number {
                _ if field.is_number => {}
                1 => {
                    let metadata = take(&mut self.bytes, field.length).await?;
                    self.metadata.merge(metadata).map_err(PageError::no_list)?;
                }
                2 if field.length > MAX_PART_BYTES => {
                    self.bytes.skip(&mut PartEnd::After(field.length)).await?;
                    return Ok(PagePart::LongItem);
                }
                2 => return whole(&mut self.bytes, field.length).await.map(PagePart::Item),
                _ => self.bytes.skip(&mut PartEnd::After(field.length)).await?,
            }
        }
        self.left = None;
        self.end().await?;
        let PageMetadata { version, next } = std::mem::take(&mut self.metadata);
        Ok(PagePart::End(PageEnd { version, next: Some(next).filter(|next| !next.is_empty()) }))
    }

    /// Reads up to the list; returns how many bytes it has.
    async fn begin(&mut self) -> Result<usize, PageError> {
        if take(&mut self.bytes, ENVELOPE_MARK.len()).await? != ENVELOPE_MARK {
            return Err(PageError::no_list(WireError::NoEnvelope));
        }
        loop {
            let field = self.head().await?;
            match field.number {
                _ if field.is_number => {}
                1 => {
                    let kind = ObjectKind::decode(take(&mut self.bytes, field.length).await?);
                    let ObjectKind(kind) = kind.map_err(PageError::no_list)?;
                    if !kind.ends_with("List") {
                        return Err(PageError::no_list(format!("it is a {kind} and no list")));
                    }
                }
                2 => return Ok(field.length),
                _ => self.bytes.skip(&mut PartEnd::After(field.length)).await?,
            }
        }
    }

    /// Reads what follows the list, up to the end of the answer.
    async fn end(&mut self) -> Result<(), PageError> {
        while !self.bytes.peek().await?.is_empty() {
            let field = self.head().await?;
            take(&mut self.bytes, field.length).await?;
        }
        Ok(())
    }

    /// Reads the beginning of a field.
    async fn head(&mut self) -> Result<FieldHead, PageError> {
        let tag = self.number().await?;
        let number = tag >> 3;
        Ok(match tag & 7 {
            0 => {
                self.number().await?;
                FieldHead { number, length: 0, is_number: true }
            }
            2 => {
                let length = self.number().await?;
                let length = usize::try_from(length).map_err(|_| PageError::no_list(WireError::CutOff))?;
                FieldHead { number, length, is_number: false }
            }
            other => return Err(PageError::no_list(WireError::UnknownType(other))),
        })
    }

    async fn number(&mut self) -> Result<u64, PageError> {
        let (mut number, mut shift) = (0, 0);
        while shift < 64 {
            let &byte = self.bytes.peek().await?.first().ok_or_else(PageError::cut_off)?;
            self.bytes.advance(1);
            self.pass(1)?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
        Err(PageError::no_list(WireError::LongNumber))
    }

    /// Takes so many bytes off the list, if it has begun.
    fn pass(&mut self, bytes: usize) -> Result<(), PageError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes).ok_or_else(|| PageError::no_list(WireError::CutOff))?;
        }
        Ok(())
    }
}

/// Takes so many bytes, which can't be many.
async fn take(bytes: &mut AnswerBytes, length: usize) -> Result<&[u8], PageError> {
    if length > MAX_ENVELOPE_BYTES {
        return Err(PageError::no_list(format!("its metadata has {length} bytes")));
    }
    whole(bytes, length).await
}

/// Takes so many bytes.
async fn whole(bytes: &mut AnswerBytes, length: usize) -> Result<&[u8], PageError> {
    if length == 0 {
        return Ok(&[]);
    }
    match bytes.take(&mut PartEnd::After(length)).await {
        Ok(Some(part)) if part.len() == length => Ok(part),
        Ok(_) => Err(PageError::cut_off()),
        Err(PartError::BrokenOff(error)) => Err(error.into()),
        Err(error @ PartError::TooLong) => Err(PageError::BrokenOff(io::Error::other(error))),
    }
}
