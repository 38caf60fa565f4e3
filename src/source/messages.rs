//! The messages of a watch, as they come: lines of JSON, or frames of Protobuf. A frame is its length in four
//! bytes, and then a message.

use std::io;

use memchr::memchr;

use super::answer::{AnswerBytes, AnswerEncoding, PartEnd, PartError};

/// The messages of a watch.
pub(super) struct WatchMessages {
    bytes: AnswerBytes,
    encoding: AnswerEncoding,
    /// How long the frame is whose length came.
    frame_bytes: Option<usize>,
}

impl WatchMessages {
    pub(super) fn new(bytes: AnswerBytes, encoding: AnswerEncoding) -> Self {
        Self { bytes, encoding, frame_bytes: None }
    }

    /// Returns what they are written in.
    pub(super) fn encoding(&self) -> AnswerEncoding {
        self.encoding
    }

    /// Returns the next message that isn't empty; `None` at the end.
    ///
    /// # Errors
    ///
    /// The answer breaks off, or the message is too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the beginning of a message is kept.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, PartError> {
        match self.encoding {
            AnswerEncoding::Json => self.next_line().await,
            AnswerEncoding::Protobuf => self.next_frame().await,
        }
    }

    /// Returns the next line, the last one even without a line break at its end.
    async fn next_line(&mut self) -> Result<Option<&[u8]>, PartError> {
        let mut line_break = |bytes: &[u8]| memchr(b'\n', bytes).map(|at| at + 1);
        loop {
            let Some(line) = self.bytes.take(&mut PartEnd::At(&mut line_break)).await? else {
                return Ok(None);
            };
            if !line.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(self.bytes.taken().map(<[u8]>::trim_ascii))
    }

    async fn next_frame(&mut self) -> Result<Option<&[u8]>, PartError> {
        let frame_bytes = loop {
            if let Some(frame_bytes) = self.frame_bytes {
                break frame_bytes;
            }
            let Some(length) = self.bytes.take(&mut PartEnd::After(4)).await? else { return Ok(None) };
            let length = length.try_into().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| PartError::TooLong)?;
            self.frame_bytes = Some(length).filter(|length| *length > 0);
        };
        let frame = self.bytes.take(&mut PartEnd::After(frame_bytes)).await?.unwrap_or_default();
        self.frame_bytes = None;
        if frame.len() < frame_bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use tokio::time::{sleep, timeout};
    use tokio_util::bytes::Bytes;

    use super::*;
    use crate::source::answer::{ByteBudget, MAX_PART_BYTES};

    /// Messages that come in these pieces, ten seconds apart.
    fn messages(
        encoding: AnswerEncoding,
        pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> WatchMessages {
        let pieces: Vec<_> = pieces.into_iter().map(|piece| Bytes::copy_from_slice(piece.as_ref())).collect();
        let pieces = futures::stream::iter(pieces).then(async |piece| {
            sleep(Duration::from_secs(10)).await;
            Ok(piece)
        });
        WatchMessages::new(AnswerBytes::new(pieces.boxed(), ByteBudget::new()), encoding)
    }

    fn frame(text: &str) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
    }

    async fn are(mut messages: WatchMessages, expected: &[&str]) {
        for expected in expected {
            assert_eq!(messages.next().await.unwrap(), Some(expected.as_bytes()));
        }
        for _ in 0..2 {
            assert_eq!(messages.next().await.unwrap(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_not_pieces() {
        let lines = ["one\r\n\n \ntw", "", "o\nthree"];
        are(messages(AnswerEncoding::Json, lines), &["one", "two", "three"]).await;
        let frames = [frame("one"), frame(""), frame("two"), frame("three")].concat();
        for size in 1..frames.len() {
            are(messages(AnswerEncoding::Protobuf, frames.chunks(size)), &["one", "two", "three"]).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_whole_though_nobody_waited_for_its_end() {
        let frames = [frame("one"), frame("two")].concat();
        for mut messages in [
            messages(AnswerEncoding::Json, ["one\ntw", "o", "\n"]),
            messages(AnswerEncoding::Protobuf, [&frames[..9], &frames[9..13], &frames[13..]]),
        ] {
            assert_eq!(messages.next().await.unwrap(), Some(&b"one"[..]));
            for _ in 0..2 {
                assert!(timeout(Duration::from_secs(9), messages.next()).await.is_err());
            }
            assert_eq!(messages.next().await.unwrap(), Some(&b"two"[..]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_without_end_is_given_up() {
        const PIECE: &[u8] = &[b'x'; MAX_PART_BYTES / 2];
        let mut lines = messages(AnswerEncoding::Json, [PIECE, PIECE, b"x", PIECE]);
        assert!(matches!(lines.next().await, Err(PartError::TooLong)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_is_refused_before_it_comes() {
        let mut frames = messages(AnswerEncoding::Protobuf, ["<html>", "never waited for"]);
        assert!(matches!(
            timeout(Duration::from_secs(11), frames.next()).await.unwrap(),
            Err(PartError::TooLong)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_breaks_off_is_an_error() {
        for length in [2, 4, 6] {
            let mut frames = messages(AnswerEncoding::Protobuf, [&frame("one")[..length]]);
            assert!(matches!(frames.next().await, Err(PartError::BrokenOff(_))), "{length}");
        }
    }
}
