//! What is read of an HTTP answer: its bytes up to a bound, and how long its sender wants to be left alone.

use std::{error::Error, fmt, time::Duration};

use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::{Timestamp, fmt::rfc2822};

/// Why a body was not read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// It has more bytes than are taken in.
    TooLong {
        /// How many are taken in.
        limit: usize,
    },
    /// It broke off.
    BrokenOff(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "more than {limit} bytes"),
            Self::BrokenOff(error) => error.fmt(f),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TooLong { .. } => None,
            // Its own text is said already.
            Self::BrokenOff(error) => error.source(),
        }
    }
}

/// Replaces `bytes` with the body. Whoever reads several bodies reuses `bytes`: its buffer is then large enough.
///
/// # Errors
///
/// The body is longer than `limit` bytes, or breaks off. What came before stands in `bytes`.
///
/// # Cancel safety
///
/// What was read is lost.
pub async fn read_up_to<B>(body: B, limit: usize, bytes: &mut Vec<u8>) -> Result<(), ReadError>
where
    B: Body,
    B::Data: AsRef<[u8]>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    bytes.clear();
    let mut body = std::pin::pin!(Limited::new(body, limit));
    // Not `collect`, which would hold the body twice.
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ReadError::TooLong { limit }
            } else {
                ReadError::BrokenOff(error)
            }
        })?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], AsRef::as_ref));
    }
    Ok(())
}

/// Returns when an answer was written, by the clock of whoever wrote it.
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// Returns what `Retry-After` asks for: seconds, some receivers with a fraction, or (from a proxy) a date. A date
/// that has passed asks for nothing.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    Some(http_date(text)?.duration_since(Timestamp::now()).try_into().unwrap_or_default())
}

fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let mut bytes = b"before".to_vec();
        let read = read_up_to(Full::new(Bytes::from_static(b"12345")), 5, &mut bytes).await;
        assert!(read.is_ok());
        assert_eq!(bytes, b"12345");
        let read = read_up_to(Full::new(Bytes::from_static(b"123456")), 5, &mut bytes).await;
        assert!(matches!(read, Err(ReadError::TooLong { limit: 5 })));
    }

    #[test]
    fn seconds_and_dates_are_read() {
        let of = |value: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]));
        assert_eq!(of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(of("0.25"), Some(Duration::from_millis(250)));
        assert_eq!((of("-1.5"), of("inf"), of("NaN"), of("1e99")), (None, None, None, None));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(of("Thu, 31 Dec 2099 00:00:00 GMT").is_some_and(|after| after > Duration::from_hours(1)));
        assert_eq!(of("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
