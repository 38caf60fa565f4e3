//! How fast one watch may ask. Requests are at least a second apart, but for those that follow a
//! good answer at once: the next page of a list, and while all is well the watch after its list.
//! After a failure there are growing, jittered pauses up to 30 seconds.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep_until};

/// The least time between two requests that don't follow a good answer.
const LEAST: Duration = Duration::from_secs(1);
/// The longest time that a server may ask for: it may be wrong, and this program must recover.
const LONGEST: Duration = Duration::from_mins(10);

/// The pace of one watch.
#[derive(Debug)]
pub(super) struct Pace {
    pauses: ExponentialBackoff,
    in_trouble: bool,
    /// When the next request may be sent.
    next: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { pauses: pauses(), in_trouble: false, next: Instant::now() }
    }

    /// Waits until the next request may be sent, and takes it for sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    pub(super) async fn ready(&mut self) {
        sleep_until(self.next).await;
        self.next = Instant::now() + LEAST;
    }

    /// A page came, and another follows.
    pub(super) fn next_page(&mut self) {
        self.next = Instant::now();
    }

    /// A good answer came, and a watch follows. While there is trouble it may be the watch that fails.
    pub(super) fn followed(&mut self) {
        if !self.in_trouble {
            self.next = Instant::now();
        }
    }

    /// A request failed: the next may be sent after a pause, at least as long as the server asked
    /// for.
    pub(super) fn failed(&mut self, asked: Option<Duration>) {
        self.in_trouble = true;
        let pause = self.pauses.next().unwrap_or(LEAST);
        self.next = Instant::now() + pause.max(asked.unwrap_or_default().min(LONGEST));
    }

    /// All is well again.
    pub(super) fn well(&mut self) {
        if self.in_trouble {
            *self = Self { next: self.next, ..Self::new() };
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

    const SECOND: Duration = Duration::from_secs(1);

    async fn ready_after(pace: &mut Pace) -> Duration {
        let begin = Instant::now();
        pace.ready().await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_half_a_minute_and_begin_anew_when_all_is_well() {
        let mut pace = Pace::new();
        for least in [1, 2, 4, 8, 15, 15, 15] {
            pace.failed(None);
            let pause = ready_after(&mut pace).await;
            assert!((SECOND * least..=SECOND * least * 2 + SECOND).contains(&pause), "{pause:?}");
        }
        pace.well();
        pace.failed(None);
        assert!(ready_after(&mut pace).await <= SECOND * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_may_ask_for_a_longer_pause_but_not_for_days() {
        let mut pace = Pace::new();
        pace.failed(Some(SECOND * 100));
        assert!(ready_after(&mut pace).await >= SECOND * 100);
        pace.failed(Some(Duration::MAX));
        assert!(ready_after(&mut pace).await <= LONGEST + SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_follows_a_good_answer_is_not_held_up() {
        let mut pace = Pace::new();
        assert_eq!(ready_after(&mut pace).await, Duration::ZERO);
        pace.next_page();
        assert_eq!(ready_after(&mut pace).await, Duration::ZERO);
        pace.followed();
        assert_eq!(ready_after(&mut pace).await, Duration::ZERO);
        assert!(ready_after(&mut pace).await >= SECOND);
        pace.failed(None);
        pace.ready().await;
        pace.next_page();
        assert_eq!(ready_after(&mut pace).await, Duration::ZERO);
        pace.followed();
        assert!(ready_after(&mut pace).await >= SECOND);
    }
}
