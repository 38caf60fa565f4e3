//! The objects of a page of a list, one after the other as they come: none is kept, so a page may be of any size.

mod json;
mod protobuf;

use std::{error::Error, io, time::Duration};

use json::JsonItems;
use protobuf::ProtobufItems;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::answer::{AnswerBytes, AnswerEncoding};

/// How long the bytes of a page may be waited for. The time in which nobody waits doesn't count.
const PAGE_TIMEOUT: Duration = Duration::from_secs(50);
/// How many bytes of a page may be something else than objects.
const MAX_ENVELOPE_BYTES: usize = 64 * 1024;

/// What is next in a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PagePart<'a> {
    /// An object.
    Item(&'a [u8]),
    /// An object that is too long to be read.
    LongItem,
    /// The end.
    End(PageEnd),
}

/// What is known of a list at the end of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageEnd {
    /// The version of the list.
    pub version: String,
    /// What to ask for the next page with.
    pub next: Option<String>,
}

/// Why a page can't be read to its end.
#[derive(Debug, Error)]
pub(super) enum PageError {
    /// It didn't come in time.
    #[error("no whole page within {0:?}")]
    Silent(Duration),
    /// It breaks off.
    #[error(transparent)]
    BrokenOff(#[from] io::Error),
    /// It is no list.
    #[error("{0}")]
    NoList(#[source] Box<dyn Error + Send + Sync>),
}

/// A page of a list.
pub(super) struct PageItems {
    items: EncodedItems,
    /// How long its bytes may still be waited for.
    time_left: Duration,
}

enum EncodedItems {
    Json(JsonItems),
    Protobuf(ProtobufItems),
}

impl PageItems {
    pub(super) fn new(bytes: AnswerBytes, encoding: AnswerEncoding) -> Self {
        let items = match encoding {
            AnswerEncoding::Json => EncodedItems::Json(JsonItems::new(bytes)),
            AnswerEncoding::Protobuf => EncodedItems::Protobuf(ProtobufItems::new(bytes)),
        };
        Self { items, time_left: PAGE_TIMEOUT }
    }

    /// Returns what the objects are written in.
    pub(super) fn encoding(&self) -> AnswerEncoding {
        match &self.items {
            EncodedItems::Json(_) => AnswerEncoding::Json,
            EncodedItems::Protobuf(_) => AnswerEncoding::Protobuf,
        }
    }

    /// Returns the next object, and at last the end, after which nothing may be asked for.
    ///
    /// # Errors
    ///
    /// The page can't be read to its end. What has no version is no list, and must not be taken for an empty one.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe.
    pub(super) async fn next(&mut self) -> Result<PagePart<'_>, PageError> {
        let begun = Instant::now();
        let (items, time_left) = (&mut self.items, &mut self.time_left);
        let next = async {
            match items {
                EncodedItems::Json(items) => items.next().await,
                EncodedItems::Protobuf(items) => items.next().await,
            }
        };
        let part = timeout(*time_left, next).await.map_err(|_| PageError::Silent(PAGE_TIMEOUT))?;
        *time_left = time_left.saturating_sub(begun.elapsed());
        match part? {
            PagePart::End(end) if end.version.is_empty() => {
                Err(PageError::no_list("the list has no resourceVersion"))
            }
            part => Ok(part),
        }
    }
}

impl PageError {
    fn no_list(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::NoList(why.into())
    }

    fn cut_off() -> Self {
        Self::BrokenOff(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests;
