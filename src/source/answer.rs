//! The bytes of an answer, taken part by part as they come. A part is a line, a frame, or an object in a list.
//!
//! A part that came in one piece is borrowed from it; one in several pieces is gathered first. All answers together
//! gather no more than [`MAX_PART_BYTES`] beyond the little that each may, so large objects wait for each other.

use std::{io, mem, sync::Arc};

use cluster::protobuf::PROTOBUF;
use futures::{StreamExt, stream::BoxStream};
use http::{HeaderMap, header::CONTENT_TYPE};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::bytes::{Buf, Bytes};

/// How long a part may be. An object has at most 1.5 MiB in etcd, up to six times that in JSON (`<` is written
/// `\u003c`), and rarely a hundredth of it.
pub(super) const MAX_PART_BYTES: usize = 16 * 1024 * 1024;
/// How much each answer may gather without asking.
const FREE_BYTES: usize = 64 * 1024;
/// By how much room grows for a large part of unknown length.
const GROWTH_BYTES: usize = 1024 * 1024;

/// What an answer is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerEncoding {
    Json,
    Protobuf,
}

impl AnswerEncoding {
    /// Returns what an answer with these headers is written in.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
        if content_type.starts_with(PROTOBUF.as_bytes()) { Self::Protobuf } else { Self::Json }
    }
}

/// Why a part wasn't taken.
#[derive(Debug, Error)]
pub(super) enum PartError {
    /// It is longer than anything that an API server has.
    #[error("an object of more than {MAX_PART_BYTES} bytes")]
    TooLong,
    /// It never came whole.
    #[error(transparent)]
    BrokenOff(#[from] io::Error),
}

/// Where a part ends.
pub(super) enum PartEnd<'a> {
    /// After so many bytes.
    After(usize),
    /// Where this says, which sees all bytes once: in how many of these, if it ends in them.
    At(&'a mut (dyn FnMut(&[u8]) -> Option<usize> + Send)),
}

/// How many bytes all answers together may gather. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ByteBudget(Arc<Semaphore>);

impl ByteBudget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_PART_BYTES)))
    }

    /// Waits until so many bytes may be gathered.
    async fn acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(MAX_PART_BYTES)).ok()?;
        // It is never closed.
        Arc::clone(&self.0).acquire_many_owned(bytes).await.ok()
    }
}

/// The bytes of an answer that aren't taken yet.
pub(super) struct AnswerBytes {
    pieces: BoxStream<'static, io::Result<Bytes>>,
    /// What came and isn't taken yet.
    piece: Bytes,
    /// The part that was taken last, if it came in one piece.
    taken: Bytes,
    /// The part that was taken last, if it came in several; or its beginning, if it isn't taken yet.
    gathered: Vec<u8>,
    is_taken: bool,
    budget: ByteBudget,
    /// For what is gathered.
    permit: Option<OwnedSemaphorePermit>,
}

impl AnswerBytes {
    pub(super) fn new(pieces: BoxStream<'static, io::Result<Bytes>>, budget: ByteBudget) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
            taken: Bytes::new(),
            gathered: Vec::new(),
            is_taken: false,
            budget,
            permit: None,
        }
    }

    /// Waits for bytes, and returns those that came without taking them; none at the end.
    ///
    /// # Errors
    ///
    /// The answer breaks off.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn peek(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match self.pieces.next().await {
                Some(piece) => self.piece = piece?,
                None => break,
            }
        }
        Ok(&self.piece)
    }

    /// Takes so many of the bytes that came.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.piece.advance(bytes.min(self.piece.len()));
    }

    /// Takes the next part, or what is left of one that the answer ends in. Returns `None` at the end.
    ///
    /// # Errors
    ///
    /// The answer breaks off, or the part is too long; [`skip`](Self::skip) takes the rest of it then.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the beginning of the part is kept for the next call, which must be for the same part.
    pub(super) async fn take(&mut self, end: &mut PartEnd<'_>) -> Result<Option<&[u8]>, PartError> {
        if mem::take(&mut self.is_taken) {
            self.release();
        }
        loop {
            if self.peek().await?.is_empty() {
                break;
            }
            self.afford(end.length()).await?;
            let ends = end.find(&self.piece, self.gathered.len());
            let part = self.piece.split_to(ends.unwrap_or(self.piece.len()));
            if ends.is_some() && self.gathered.is_empty() {
                self.taken = part;
                break;
            }
            self.gathered.extend_from_slice(&part);
            if ends.is_some() {
                break;
            }
        }
        self.is_taken = true;
        Ok(self.taken())
    }

    /// Returns the part that was taken last.
    pub(super) fn taken(&self) -> Option<&[u8]> {
        let part = if self.gathered.is_empty() { &*self.taken } else { &*self.gathered };
        Some(part).filter(|part| !part.is_empty())
    }

    /// Passes over the rest of a part.
    ///
    /// # Errors
    ///
    /// The answer breaks off or ends before it.
    pub(super) async fn skip(&mut self, end: &mut PartEnd<'_>) -> io::Result<()> {
        let mut skipped = self.gathered.len();
        self.release();
        loop {
            if self.peek().await?.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let ends = end.find(&self.piece, skipped);
            let bytes = ends.unwrap_or(self.piece.len());
            skipped += bytes;
            self.advance(bytes);
            if ends.is_some() {
                return Ok(());
            }
        }
    }

    /// Sees to it that what came may be gathered, if it has to be. `length` is the part's, if it is known.
    async fn afford(&mut self, length: Option<usize>) -> Result<(), PartError> {
        let at_least = self.gathered.len() + self.piece.len();
        let is_begun = !self.gathered.is_empty();
        let expected = match length {
            Some(length) if length > MAX_PART_BYTES => return Err(PartError::TooLong),
            Some(length) if length <= at_least && !is_begun => return Ok(()),
            Some(length) => length,
            None if !is_begun => return Ok(()),
            None if self.gathered.len() > MAX_PART_BYTES => return Err(PartError::TooLong),
            // Nobody knows how long it is, and whoever waits for more must not keep what others wait for.
            None if at_least > FREE_BYTES => MAX_PART_BYTES,
            None => return Ok(()),
        };
        if expected > FREE_BYTES && self.permit.is_none() {
            self.permit = self.budget.acquire(expected).await;
        }
        if length.is_some() {
            self.gathered.reserve_exact(expected - self.gathered.len());
        } else if self.gathered.capacity() < at_least && expected > FREE_BYTES {
            // Twice as much would be a second object.
            self.gathered.reserve_exact(self.piece.len().max(GROWTH_BYTES));
        }
        Ok(())
    }

    /// Forgets the part that was taken last.
    fn release(&mut self) {
        self.taken.clear();
        self.gathered.clear();
        if self.permit.take().is_some() {
            self.gathered = Vec::new();
        }
    }
}

impl PartEnd<'_> {
    /// Returns how long the part is, if that is known.
    fn length(&self) -> Option<usize> {
        match self {
            Self::After(length) => Some(*length),
            Self::At(_) => None,
        }
    }

    /// Returns in how many of these bytes the part ends, if it does, after so many that came before.
    fn find(&mut self, bytes: &[u8], before: usize) -> Option<usize> {
        match self {
            Self::After(all) => Some(*all - before).filter(|left| *left <= bytes.len()),
            Self::At(find) => find(bytes),
        }
    }
}
