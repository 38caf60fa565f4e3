//! The lines of a watch, as they come.

use std::io;

use futures::stream::BoxStream;
use memchr::memchr;
use tokio::io::AsyncBufReadExt;
use tokio_util::{bytes::Bytes, io::StreamReader};

/// How long a line may be. An object is at most 1.5 MiB in etcd, up to six times that in JSON (`<` is
/// written `\u003c`), and rarely a hundredth of it.
pub(super) const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// The lines of a watch.
pub(super) struct WatchLines {
    reader: StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>,
    line: Vec<u8>,
    is_complete: bool,
}

impl WatchLines {
    pub(super) fn new(chunks: BoxStream<'static, io::Result<Bytes>>) -> Self {
        Self { reader: StreamReader::new(chunks), line: Vec::new(), is_complete: false }
    }

    /// Returns the next line that isn't blank, the last one even without a line break at its end; `None`
    /// at the end.
    ///
    /// # Errors
    ///
    /// The stream breaks off, or a line is longer than [`MAX_LINE_BYTES`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the beginning of a line is kept.
    pub(super) async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if std::mem::take(&mut self.is_complete) {
            self.line.clear();
        }
        loop {
            let chunk = self.reader.fill_buf().await?;
            let at_end = chunk.is_empty();
            let taken = memchr(b'\n', chunk).map_or(chunk.len(), |line_break| line_break + 1);
            self.line.extend_from_slice(&chunk[..taken]);
            self.reader.consume(taken);
            if self.line.len() > MAX_LINE_BYTES {
                return Err(io::Error::other(format!("a line of more than {MAX_LINE_BYTES} bytes")));
            }
            if !at_end && !self.line.ends_with(b"\n") {
                continue;
            }
            if !self.line.trim_ascii().is_empty() {
                self.is_complete = true;
                return Ok(Some(self.line.trim_ascii()));
            }
            if at_end {
                return Ok(None);
            }
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Lines that come in these chunks, ten seconds apart.
    fn lines<const N: usize>(chunks: [&'static [u8]; N]) -> WatchLines {
        let chunks = futures::stream::iter(chunks).then(async |chunk| {
            sleep(Duration::from_secs(10)).await;
            Ok(Bytes::from_static(chunk))
        });
        WatchLines::new(chunks.boxed())
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_not_chunks() {
        let mut lines = lines([b"one\r\n\n \ntw", b"", b"o\nthree"]);
        for expected in [Some("one"), Some("two"), Some("three"), None, None] {
            assert_eq!(lines.next().await.unwrap(), expected.map(str::as_bytes));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_whole_though_nobody_waited_for_its_end() {
        let mut lines = lines([b"one\ntw", b"o", b"\n"]);
        assert_eq!(lines.next().await.unwrap(), Some(&b"one"[..]));
        for _ in 0..2 {
            assert!(timeout(Duration::from_secs(9), lines.next()).await.is_err());
        }
        assert_eq!(lines.next().await.unwrap(), Some(&b"two"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_without_end_is_given_up() {
        const CHUNK: &[u8] = &[b'x'; MAX_LINE_BYTES / 2];
        let mut lines = lines([CHUNK, CHUNK, b"x", CHUNK]);
        assert!(lines.next().await.is_err());
    }
}
