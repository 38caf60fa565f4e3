//! How fast one watch may ask. Requests are at least a second apart, but for those that follow a good
//! answer at once: the next page of a list, and the watch after its list. After a failure there are
//! growing, jittered pauses of up to 30 seconds. Within a list they begin anew, and shorter, with each
//! page that comes: an API server that answers every other page with an error still is listed in seconds.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep_until};

/// The least time between two requests that don't follow a good answer.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The first pause after a page of a list failed that others came before.
const MIN_PAGE_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before its jitter, which adds up to as much again.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// The longest pause that a server may ask for: it may be wrong, and this program must recover.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(10);

/// When one watch may ask next.
#[derive(Debug)]
pub(super) struct Backoff {
    pauses: ExponentialBackoff,
    /// The pauses within a list, since its last page that came.
    page_pauses: Option<ExponentialBackoff>,
    /// Whether a request has failed since a watch last worked.
    failing: bool,
    ready_at: Instant,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { pauses: pauses_from(MIN_PAUSE), page_pauses: None, failing: false, ready_at: Instant::now() }
    }

    /// Waits until the next request may be sent, and takes it for sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn ready(&mut self) {
        sleep_until(self.ready_at).await;
        self.ready_at = Instant::now() + MIN_PAUSE;
    }

    /// Takes in a page of a list: the next may be asked for at once.
    pub(super) fn page_came(&mut self) {
        self.page_pauses = Some(pauses_from(MIN_PAGE_PAUSE));
        self.ready_at = Instant::now();
    }

    /// Takes in that the list begins anew: the pages that came prove nothing.
    pub(super) fn list_begins(&mut self) {
        self.page_pauses = None;
    }

    /// Takes in a good answer that a watch follows: at once, unless it may be the watch that fails.
    pub(super) fn watch_follows(&mut self) {
        self.page_pauses = None;
        if !self.failing {
            self.ready_at = Instant::now();
        }
    }

    /// Takes in a failure: the next request waits for a pause, or longer if the server asks for it.
    pub(super) fn failed(&mut self, retry_after: Option<Duration>) {
        self.failing = true;
        let pause = self.page_pauses.as_mut().unwrap_or(&mut self.pauses).next().unwrap_or(MAX_PAUSE);
        self.ready_at = Instant::now() + pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
    }

    /// Takes in that a watch works: pauses begin anew with the shortest.
    pub(super) fn works(&mut self) {
        *self = Self { ready_at: self.ready_at, ..Self::new() };
    }
}

/// Returns pauses that double; the jitter adds up to the pause itself.
fn pauses_from(first: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(MAX_PAUSE)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn ready_after(backoff: &mut Backoff) -> Duration {
        let begin = Instant::now();
        backoff.ready().await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_half_a_minute_and_begin_anew_when_a_watch_works() {
        let mut backoff = Backoff::new();
        for least in [1, 2, 4, 8, 15, 15, 15] {
            backoff.failed(None);
            let pause = ready_after(&mut backoff).await;
            assert!((SECOND * least..=SECOND * least * 2 + SECOND).contains(&pause), "{pause:?}");
        }
        backoff.works();
        backoff.failed(None);
        assert!(ready_after(&mut backoff).await <= SECOND * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_came_makes_pauses_short_until_the_list_begins_anew() {
        let mut backoff = Backoff::new();
        for _ in 0..5 {
            backoff.failed(None);
        }
        for _ in 0..2 {
            backoff.page_came();
            for least in [1, 2, 4] {
                backoff.failed(None);
                assert!(ready_after(&mut backoff).await <= MIN_PAGE_PAUSE * least * 2);
            }
        }
        backoff.list_begins();
        backoff.failed(None);
        assert!(ready_after(&mut backoff).await >= MAX_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_may_ask_for_a_longer_pause_but_not_for_days() {
        let mut backoff = Backoff::new();
        backoff.failed(Some(SECOND * 100));
        assert!(ready_after(&mut backoff).await >= SECOND * 100);
        backoff.failed(Some(Duration::MAX));
        assert!(ready_after(&mut backoff).await <= MAX_RETRY_AFTER + SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_follows_a_good_answer_is_not_held_up() {
        let mut backoff = Backoff::new();
        assert_eq!(ready_after(&mut backoff).await, Duration::ZERO);
        backoff.page_came();
        assert_eq!(ready_after(&mut backoff).await, Duration::ZERO);
        backoff.watch_follows();
        assert_eq!(ready_after(&mut backoff).await, Duration::ZERO);
        assert!(ready_after(&mut backoff).await >= SECOND);
        backoff.failed(None);
        backoff.ready().await;
        backoff.page_came();
        assert_eq!(ready_after(&mut backoff).await, Duration::ZERO);
        backoff.watch_follows();
        assert!(ready_after(&mut backoff).await >= SECOND);
    }
}
