//! How fast one watch may ask: at once while all is well; after a failure no more than one request
//! a second, with growing, jittered pauses up to 30 seconds.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep, sleep_until};

/// The least time between two requests while there is trouble.
const LEAST: Duration = Duration::from_secs(1);

/// The pace of one watch.
#[derive(Debug)]
pub(super) struct Pace {
    pauses: ExponentialBackoff,
    in_trouble: bool,
    last_request: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { pauses: pauses(), in_trouble: false, last_request: None }
    }

    /// Waits until the next request may be sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    pub(super) async fn ready(&mut self) {
        if let Some(last) = self.last_request.filter(|_| self.in_trouble) {
            sleep_until(last + LEAST).await;
        }
        self.last_request = Some(Instant::now());
    }

    /// Waits after a failure, at least as long as the server asked for.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing but the rest of the pause.
    pub(super) async fn failed(&mut self, asked: Option<Duration>) {
        self.in_trouble = true;
        let pause = self.pauses.next().unwrap_or(LEAST);
        sleep(pause.max(asked.unwrap_or_default())).await;
    }

    /// All is well again.
    pub(super) fn succeeded(&mut self) {
        if self.in_trouble {
            *self = Self { last_request: self.last_request, ..Self::new() };
        }
    }
}

/// The jitter adds up to the pause itself: 1 to 2 seconds first, 15 to 30 at last.
fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(LEAST)
        .with_max_delay(Duration::from_secs(15))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn failed_for(pace: &mut Pace, asked: Option<Duration>) -> Duration {
        let begin = Instant::now();
        pace.failed(asked).await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_half_a_minute_and_begin_anew_after_a_success() {
        let mut pace = Pace::new();
        let second = Duration::from_secs(1);
        for bounds in [1, 2, 4, 8, 15, 15, 15] {
            let pause = failed_for(&mut pace, None).await;
            assert!((second * bounds..=second * bounds * 2 + second).contains(&pause), "{pause:?}");
        }
        assert!(failed_for(&mut pace, Some(second * 100)).await >= second * 100);
        pace.succeeded();
        assert!(failed_for(&mut pace, None).await <= second * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn in_trouble_requests_are_a_second_apart_and_otherwise_are_not_held_up() {
        let mut pace = Pace::new();
        let begin = Instant::now();
        pace.ready().await;
        pace.ready().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        pace.failed(None).await;
        pace.ready().await;
        let begin = Instant::now();
        pace.ready().await;
        assert!(begin.elapsed() >= LEAST);
    }
}
