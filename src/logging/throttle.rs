//! Which of many like failures does the log tell? The first, and then one in a while.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Decides whether a failure of something that goes on failing is said in the log. `R` is the reason.
#[derive(Debug)]
pub struct LogThrottle<R> {
    /// How long to be silent about a reason that was said before.
    same: Duration,
    /// How long to be silent about any other.
    other: Duration,
    /// How many reasons to keep.
    kept: usize,
    /// The reasons that were said since all was well, the newest last.
    said: VecDeque<R>,
    last: Option<Instant>,
}

impl<R: PartialEq> LogThrottle<R> {
    /// Silent for `same` about a reason that is among the `kept` that were said last, and for `other`
    /// about any other.
    pub fn new(same: Duration, other: Duration, kept: usize) -> Self {
        Self { same, other, kept, said: VecDeque::new(), last: None }
    }

    /// Takes in a failure; returns whether to say it.
    pub fn admits(&mut self, reason: R, now: Instant) -> bool {
        let known = self.said.contains(&reason);
        let silence = if known { self.same } else { self.other };
        let admitted = self.last.is_none_or(|last| now.duration_since(last) >= silence);
        if admitted {
            self.last = Some(now);
            if !known {
                self.said.push_back(reason);
                let excess = self.said.len().saturating_sub(self.kept);
                self.said.drain(..excess);
            }
        }
        admitted
    }

    /// Returns whether a failure was said since all was well.
    pub fn has_spoken(&self) -> bool {
        self.last.is_some()
    }

    /// Takes in that all is well; returns whether a failure was said that no longer holds.
    pub fn well(&mut self) -> bool {
        self.said.clear();
        self.last.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_new_reason_is_said_sooner_than_the_same_again() {
        let (mut throttle, start) = (LogThrottle::new(600 * SECOND, 10 * SECOND, 1), Instant::now());
        for (reason, second, said) in [
            ("a", 0, true),
            ("a", 599, false),
            ("a", 600, true),
            ("b", 609, false),
            ("b", 610, true),
            ("a", 620, true),
        ] {
            assert_eq!(throttle.admits(reason, start + second * SECOND), said, "{reason} at {second}");
        }
    }

    #[test]
    fn reasons_that_take_turns_are_said_once_each_as_long_as_they_are_kept() {
        let (mut throttle, start) = (LogThrottle::new(600 * SECOND, Duration::ZERO, 2), Instant::now());
        let said = ["a", "b", "a", "b"].map(|reason| throttle.admits(reason, start));
        assert_eq!(said, [true, true, false, false]);
        assert!(throttle.well() && !throttle.well());
        assert!(throttle.admits("a", start));
    }
}
