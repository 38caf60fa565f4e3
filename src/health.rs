//! Is the program alive, and does it see the cluster? What `/healthz` and `/readyz` answer.
//!
//! The watches tell how they are, each through its own [`WatchState`]; the pipeline beats
//! ([`Readiness::progress`]) while it runs. The answers are for the kubelet and for people.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a watch may be broken before the program is no longer ready.
const BROKEN_AT_MOST: Duration = Duration::from_mins(1);

/// How old the pipeline's last beat may be before the program counts as stuck.
const SILENT_AT_MOST: Duration = Duration::from_mins(1);

/// How the program is. Clones share the same state.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    watches: Vec<(String, Watch)>,
    beat: Instant,
}

#[derive(Debug)]
enum Watch {
    /// It has not seen everything yet.
    Listing {
        trouble: Option<String>,
    },
    Working,
    Broken {
        since: Instant,
        reason: String,
    },
    /// It may not work, and the program does without it.
    NotCounted {
        reason: String,
    },
}

/// An answer to a probe: yes or no, and lines that say why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is as it should be.
    pub good: bool,
    /// `ok` where it is, otherwise the reasons, one a line; in both cases also what is reported and
    /// doesn't count.
    pub text: String,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// The state at start: no watch yet, the first beat now.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { watches: Vec::new(), beat: Instant::now() })))
    }

    /// Adds a watch, such as `pods` or `events in shop`, that has not listed yet. The program is not
    /// ready before it has.
    pub fn register(&self, name: impl Into<String>) -> WatchState {
        let mut state = self.state();
        state.watches.push((name.into(), Watch::Listing { trouble: None }));
        WatchState { readiness: self.clone(), index: state.watches.len() - 1 }
    }

    /// The beat of the pipeline: it goes round. To be called every few seconds, whatever happens
    /// outside of the program.
    pub fn progress(&self) {
        self.state().beat = Instant::now();
    }

    /// Whether every watch that counts has listed and none has been broken for more than a minute.
    /// At least one must count.
    pub fn readiness(&self) -> Verdict {
        let state = self.state();
        let now = Instant::now();
        let (mut reasons, mut remarks) = (Vec::new(), Vec::new());
        for (name, watch) in &state.watches {
            match watch {
                Watch::Working => {}
                Watch::Listing { trouble: None } => reasons.push(format!("{name}: not yet listed")),
                Watch::Listing { trouble: Some(trouble) } => {
                    reasons.push(format!("{name}: not yet listed: {trouble}"));
                }
                Watch::Broken { since, reason } => {
                    let broken = now.duration_since(*since);
                    let line = format!("{name}: broken for {} s: {reason}", broken.as_secs());
                    if broken > BROKEN_AT_MOST { &mut reasons } else { &mut remarks }.push(line);
                }
                Watch::NotCounted { reason } => remarks.push(format!("{name}: not counted: {reason}")),
            }
        }
        if state.watches.iter().all(|(_, watch)| matches!(watch, Watch::NotCounted { .. })) {
            reasons.push("nothing is watched".to_owned());
        }
        Verdict::new(reasons, remarks)
    }

    /// Whether the pipeline has beaten within the last minute.
    pub fn health(&self) -> Verdict {
        let silent = self.state().beat.elapsed();
        let stuck = silent > SILENT_AT_MOST;
        let reason = stuck.then(|| format!("no progress for {} s", silent.as_secs()));
        Verdict::new(reason.into_iter().collect(), Vec::new())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verdict {
    fn new(reasons: Vec<String>, remarks: Vec<String>) -> Self {
        let good = reasons.is_empty();
        let mut lines = if good { vec!["ok".to_owned()] } else { reasons };
        lines.extend(remarks);
        Self { good, text: lines.join("\n") }
    }
}

/// How one watch is, told by whoever keeps it going.
#[derive(Debug)]
pub struct WatchState {
    readiness: Readiness,
    index: usize,
}

impl WatchState {
    /// It has seen everything there is: its list is complete. What was broken stays so until it
    /// works: a list is no watch.
    pub fn synced(&self) {
        self.change(|watch| {
            if !matches!(watch, Watch::Broken { .. }) {
                *watch = Watch::Working;
            }
        });
    }

    /// It doesn't work at the moment, for a reason that carries no secret. Said again, the time of
    /// the first holds. What isn't counted stays so.
    pub fn broken(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.change(|watch| match watch {
            Watch::Working => *watch = Watch::Broken { since: Instant::now(), reason },
            Watch::Broken { reason: last, .. } => *last = reason,
            Watch::Listing { trouble } => *trouble = Some(reason),
            Watch::NotCounted { .. } => {}
        });
    }

    /// It works; if it hasn't listed yet, it is still to.
    pub fn working(&self) {
        self.change(|watch| match watch {
            Watch::Working => {}
            Watch::Broken { .. } => *watch = Watch::Working,
            Watch::Listing { .. } | Watch::NotCounted { .. } => *watch = Watch::Listing { trouble: None },
        });
    }

    /// It may not work (403), which is reported and doesn't count.
    pub fn not_counted(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.change(|watch| *watch = Watch::NotCounted { reason });
    }

    fn change(&self, change: impl FnOnce(&mut Watch)) {
        if let Some((_, watch)) = self.readiness.state().watches.get_mut(self.index) {
            change(watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(readiness: &Readiness) -> (bool, String) {
        let verdict = readiness.readiness();
        (verdict.good, verdict.text)
    }

    #[tokio::test(start_paused = true)]
    async fn ready_when_every_watch_has_listed() {
        let readiness = Readiness::new();
        let (pods, events) = (readiness.register("pods"), readiness.register("events"));
        pods.synced();
        assert_eq!(ready(&readiness), (false, "events: not yet listed".to_owned()));
        events.broken("connection refused");
        assert_eq!(ready(&readiness), (false, "events: not yet listed: connection refused".to_owned()));
        events.working();
        assert_eq!(ready(&readiness), (false, "events: not yet listed".to_owned()));
        events.synced();
        assert_eq!(ready(&readiness), (true, "ok".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_longer_ready_when_a_watch_is_broken_for_more_than_a_minute() {
        let readiness = Readiness::new();
        let pods = readiness.register("pods");
        pods.synced();
        pods.broken("reset");
        tokio::time::advance(Duration::from_mins(1)).await;
        pods.broken("refused");
        assert_eq!(ready(&readiness), (true, "ok\npods: broken for 60 s: refused".to_owned()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ready(&readiness), (false, "pods: broken for 61 s: refused".to_owned()));
        pods.working();
        assert_eq!(ready(&readiness), (true, "ok".to_owned()));
        pods.broken("reset");
        assert!(readiness.readiness().good, "the minute begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_forbidden_namespace_is_reported_and_does_not_count() {
        let readiness = Readiness::new();
        let (shop, bank) = (readiness.register("pods in shop"), readiness.register("pods in bank"));
        shop.synced();
        bank.not_counted("403");
        assert_eq!(ready(&readiness), (true, "ok\npods in bank: not counted: 403".to_owned()));
        bank.working();
        assert_eq!(ready(&readiness), (false, "pods in bank: not yet listed".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_watch_that_counts_it_is_not_ready() {
        let readiness = Readiness::new();
        assert_eq!(ready(&readiness), (false, "nothing is watched".to_owned()));
        readiness.register("pods").not_counted("403");
        assert!(!readiness.readiness().good);
    }

    #[tokio::test(start_paused = true)]
    async fn healthy_while_the_pipeline_beats() {
        let readiness = Readiness::new();
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(readiness.health().good);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(readiness.health(), Verdict { good: false, text: "no progress for 75 s".to_owned() });
        readiness.progress();
        assert!(readiness.health().good);
    }
}
