//! Says when a group's next message is due, of which the first is out.
//!
//! | what is added | waits since the last message |
//! |---|---|
//! | news: a Pod that was not named, or ten times as many kills as were told | 30 s at first, and twice as long each time, at most an interval |
//! | other kills | 5 minutes once, then an interval |
//!
//! If that is over, it waits [`Grouping::wait`] for others.

use std::time::Duration;

use sinks::Grouping;
use tokio::time::Instant;

use super::later;

/// How long news waits at first.
const FIRST_NEWS_WAIT: Duration = Duration::from_secs(30);

/// How long other kills wait once.
const FIRST_WAIT: Duration = Duration::from_mins(5);

/// Ten times as many kills are news.
const NEWS_FACTOR: u64 = 10;

/// How many Pods of a group are told apart, as many as Slack names. Any further ones are no news.
const MAX_NAMED_PODS: usize = 200;

/// A kill that an earlier run of the program told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToldBefore {
    pub(super) pod: u32,
    /// When it was told, as closely as that is known.
    pub(super) at: Instant,
    /// How many kills its incident had then.
    pub(super) kills: u64,
    /// Since when.
    pub(super) since: Instant,
}

/// What was told of a group so far, and what is yet to be told.
#[derive(Debug)]
pub(super) struct MessageRhythm {
    grouping: Grouping,
    /// When the last message was due, if any was.
    previous: Option<Instant>,
    /// How long news waits after it.
    news_wait: Duration,
    /// Whether other kills have waited their five minutes.
    has_waited: bool,
    /// The kills that were told.
    told: u64,
    /// The kills that are yet to be told.
    untold: u64,
    /// Whether there is news among them.
    has_news: bool,
    /// The Pods that were named.
    named: Vec<u32>,
}

impl MessageRhythm {
    /// Begins before the first message.
    pub(super) fn new(grouping: Grouping) -> Self {
        Self {
            grouping,
            previous: None,
            news_wait: FIRST_NEWS_WAIT.min(grouping.interval),
            has_waited: false,
            told: 0,
            untold: 0,
            has_news: false,
            named: Vec::new(),
        }
    }

    /// Returns when the last message was due, if any was.
    pub(super) fn previous(&self) -> Option<Instant> {
        self.previous
    }

    /// Takes in a kill in a Pod. Returns when it is to be told.
    pub(super) fn add(&mut self, pod: u32, now: Instant) -> Instant {
        self.untold += 1;
        let is_news = self.is_news(pod);
        self.has_news |= is_news;
        self.due(is_news, now)
    }

    fn due(&self, is_news: bool, now: Instant) -> Instant {
        let gathered = later(now, self.grouping.wait);
        let Some(previous) = self.previous else { return gathered };
        let due = later(previous, if is_news { self.news_wait } else { self.wait() });
        if due > now { due } else { gathered }
    }

    fn is_news(&self, pod: u32) -> bool {
        let is_named = self.named.contains(&pod) || self.named.len() >= MAX_NAMED_PODS;
        let has_grown = self.told.saturating_mul(NEWS_FACTOR) <= self.told + self.untold;
        !is_named || (has_grown && self.told > 0)
    }

    /// Returns how long kills that are no news wait.
    fn wait(&self) -> Duration {
        if self.has_waited { self.grouping.interval } else { FIRST_WAIT.min(self.grouping.interval) }
    }

    /// Takes in that a message is due that names these Pods. Returns when the next one is at the latest.
    pub(super) fn told(&mut self, pods: impl IntoIterator<Item = u32>, now: Instant) -> Instant {
        if self.has_news && self.previous.is_some() {
            self.news_wait = self.news_wait.saturating_mul(2).min(self.grouping.interval);
        } else if self.previous.is_some() {
            self.has_waited = true;
        }
        for pod in pods {
            self.name(pod);
        }
        self.told += self.untold;
        (self.untold, self.has_news, self.previous) = (0, false, Some(now));
        later(now, self.wait())
    }

    /// Takes in that an earlier run of the program told of a kill in a Pod.
    pub(super) fn remember(&mut self, told: &ToldBefore) {
        self.name(told.pod);
        self.told = self.told.max(told.kills);
        self.previous = self.previous.max(Some(told.at));
        self.has_waited |= told.at.saturating_duration_since(told.since) > FIRST_WAIT;
    }

    /// Returns when what was added is to be told, after all.
    pub(super) fn due_after_all(&self, now: Instant) -> Instant {
        self.due(self.has_news, now)
    }

    fn name(&mut self, pod: u32) {
        if !self.named.contains(&pod) && self.named.len() < MAX_NAMED_PODS {
            self.named.push(pod);
        }
    }
}
