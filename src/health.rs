//! Is the program alive, and does it see the cluster? What `/healthz` and `/readyz` answer.
//!
//! Each watch says how it is through its own [`WatchHealthHandle`]; the pipeline says that it goes round
//! ([`Readiness::progress`]). `/readyz` answers for all watches:
//!
//! | a watch | was never listed | was listed |
//! |---|---|---|
//! | is good | not ready | ready |
//! | is broken | not ready | ready for a minute, then not |
//! | is forbidden | reported, and doesn't count | the same |
//!
//! Ready needs at least one watch of Pods that was listed and is good, or was within the last minute.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long the program is ready though a watch is broken.
const BROKEN_WATCH_GRACE: Duration = Duration::from_mins(1);

/// How long ago the pipeline may have gone round before the program counts as stuck.
const MAX_PROGRESS_AGE: Duration = Duration::from_mins(1);

/// How the program is. Clones share the same state.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<ProgramHealth>>);

#[derive(Debug)]
struct ProgramHealth {
    watches: Vec<WatchHealth>,
    /// When the pipeline last went round.
    progress: Instant,
    /// Why only a restart helps.
    dead: Option<String>,
}

/// How one watch is.
#[derive(Debug)]
struct WatchHealth {
    name: String,
    /// Whether it shows Pods, and so kills.
    shows_pods: bool,
    /// Whether all that it covers has been listed.
    listed: bool,
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    /// Nothing is known against it.
    Good,
    /// It doesn't work.
    Broken { since: Instant, reason: String },
    /// The account has no right to it, and the program watches the rest.
    Forbidden { since: Instant, reason: String },
    /// All that it was needed for is done.
    Done,
    /// The program goes on without it.
    GivenUp { consequence: &'static str },
}

/// An answer to a probe: yes or no, and lines that say why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Whether all is as it should be.
    pub good: bool,
    /// `ok` or the reasons against it, one a line; then what is reported and doesn't count.
    pub text: String,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Returns the state at the start: no watch yet, and the pipeline goes round now.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(ProgramHealth {
            watches: Vec::new(),
            progress: Instant::now(),
            dead: None,
        })))
    }

    /// Adds a watch, such as `pods in the namespace shop`. The program is not ready before it is listed, nor
    /// while no watch shows Pods.
    pub fn register(&self, name: impl Into<String>, shows_pods: bool) -> WatchHealthHandle {
        let watches = &mut self.state().watches;
        watches.push(WatchHealth {
            name: name.into(),
            shows_pods,
            listed: false,
            condition: Condition::Good,
        });
        WatchHealthHandle { readiness: self.clone(), index: watches.len() - 1 }
    }

    /// Takes in that the pipeline goes round. To be called every few seconds, whatever happens outside of
    /// the program.
    pub fn progress(&self) {
        self.state().progress = Instant::now();
    }

    /// Takes in that a part of the program has ended, so that only a restart helps.
    pub fn dead(&self, reason: impl Into<String>) {
        self.state().dead = Some(reason.into());
    }

    /// Answers whether the program sees the cluster.
    pub fn readiness(&self) -> ProbeAnswer {
        let state = self.state();
        let now = Instant::now();
        let (mut reasons, mut remarks) = (Vec::new(), Vec::new());
        for WatchHealth { name, listed, condition, .. } in &state.watches {
            match condition {
                Condition::Done => {}
                Condition::GivenUp { consequence } => {
                    remarks.push(format!("{name}: given up: {consequence}"));
                }
                Condition::Good if *listed => {}
                Condition::Good => reasons.push(format!("{name}: not yet listed")),
                Condition::Broken { reason, .. } if !listed => {
                    reasons.push(format!("{name}: not yet listed: {reason}"));
                }
                Condition::Broken { since, reason } => {
                    let broken = now.duration_since(*since);
                    let line = format!("{name}: broken for {} s: {reason}", broken.as_secs());
                    if broken > BROKEN_WATCH_GRACE { &mut reasons } else { &mut remarks }.push(line);
                }
                Condition::Forbidden { reason, .. } => {
                    remarks.push(format!("{name}: no right, watching the rest: {reason}"));
                }
            }
        }
        if reasons.is_empty() && !state.watches.iter().any(|watch| watch.sees_pods(now)) {
            reasons.push("no Pods are watched".to_owned());
        }
        ProbeAnswer::new(reasons, remarks)
    }

    /// Answers whether the pipeline went round within the last minute, and every part of the program lives.
    pub fn health(&self) -> ProbeAnswer {
        let state = self.state();
        let age = state.progress.elapsed();
        let stuck = (age > MAX_PROGRESS_AGE).then(|| format!("no progress for {} s", age.as_secs()));
        ProbeAnswer::new(state.dead.clone().into_iter().chain(stuck).collect(), Vec::new())
    }

    /// Each change is complete in itself, so one that panicked left nothing half-done.
    fn state(&self) -> MutexGuard<'_, ProgramHealth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchHealth {
    /// Returns whether it shows what happens to Pods, or did within the last minute.
    fn sees_pods(&self, now: Instant) -> bool {
        let works = match self.condition {
            Condition::Good => true,
            Condition::Done | Condition::GivenUp { .. } => false,
            Condition::Broken { since, .. } | Condition::Forbidden { since, .. } => {
                now.duration_since(since) <= BROKEN_WATCH_GRACE
            }
        };
        self.shows_pods && self.listed && works
    }

    /// Returns since when it doesn't work, which may be now.
    fn since(&self) -> Instant {
        match self.condition {
            Condition::Good | Condition::Done | Condition::GivenUp { .. } => Instant::now(),
            Condition::Broken { since, .. } | Condition::Forbidden { since, .. } => since,
        }
    }
}

impl ProbeAnswer {
    fn new(reasons: Vec<String>, remarks: Vec<String>) -> Self {
        let good = reasons.is_empty();
        let mut lines = if good { vec!["ok".to_owned()] } else { reasons };
        lines.extend(remarks);
        Self { good, text: lines.join("\n") }
    }
}

/// Says how one watch is, on behalf of whoever keeps it going.
#[derive(Debug)]
pub struct WatchHealthHandle {
    readiness: Readiness,
    index: usize,
}

impl WatchHealthHandle {
    /// Takes in that the list is complete. A watch that broke after its first list stays broken: that
    /// it can be listed doesn't prove that it can be watched.
    pub fn listed(&self) {
        self.change(|watch| {
            if !matches!(watch.condition, Condition::Broken { .. } if watch.listed) {
                watch.condition = Condition::Good;
            }
            watch.listed = true;
        });
    }

    /// Takes in that the watch works.
    pub fn works(&self) {
        self.change(|watch| watch.condition = Condition::Good);
    }

    /// Takes in that the watch doesn't work, for a reason that holds no secret. A forbidden one stays so
    /// until it works.
    pub fn broken(&self, reason: impl Into<String>) {
        self.change(|watch| {
            if !matches!(watch.condition, Condition::Forbidden { .. }) {
                watch.condition = Condition::Broken { since: watch.since(), reason: reason.into() };
            }
        });
    }

    /// Takes in that the account has no right to it (403), and that the program does without it.
    pub fn forbidden(&self, reason: impl Into<String>) {
        self.change(|watch| {
            watch.condition = Condition::Forbidden { since: watch.since(), reason: reason.into() };
        });
    }

    /// Takes in that nothing depends on the watch any more.
    pub fn done(&self) {
        self.change(|watch| watch.condition = Condition::Done);
    }

    /// Takes in that the program goes on without it, and what follows from that.
    pub fn given_up(&self, consequence: &'static str) {
        self.change(|watch| watch.condition = Condition::GivenUp { consequence });
    }

    fn change(&self, change: impl FnOnce(&mut WatchHealth)) {
        if let Some(watch) = self.readiness.state().watches.get_mut(self.index) {
            change(watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(readiness: &Readiness) -> (bool, String) {
        let answer = readiness.readiness();
        (answer.good, answer.text)
    }

    #[tokio::test(start_paused = true)]
    async fn ready_when_every_watch_has_listed() {
        let readiness = Readiness::new();
        let (pods, events) = (readiness.register("pods", true), readiness.register("events", false));
        pods.listed();
        assert_eq!(ready(&readiness), (false, "events: not yet listed".to_owned()));
        events.broken("connection refused");
        assert_eq!(ready(&readiness), (false, "events: not yet listed: connection refused".to_owned()));
        events.works();
        assert_eq!(ready(&readiness), (false, "events: not yet listed".to_owned()));
        events.listed();
        assert_eq!(ready(&readiness), (true, "ok".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_longer_ready_when_a_watch_is_broken_for_more_than_a_minute() {
        let readiness = Readiness::new();
        let pods = readiness.register("pods", true);
        pods.listed();
        pods.broken("reset");
        tokio::time::advance(Duration::from_mins(1)).await;
        pods.broken("refused");
        assert_eq!(ready(&readiness), (true, "ok\npods: broken for 60 s: refused".to_owned()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ready(&readiness), (false, "pods: broken for 61 s: refused".to_owned()));
        pods.works();
        assert_eq!(ready(&readiness), (true, "ok".to_owned()));
        pods.broken("reset");
        assert!(readiness.readiness().good, "the minute begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_forbidden_namespace_is_reported_and_does_not_count() {
        let readiness = Readiness::new();
        let (shop, bank) =
            (readiness.register("pods in shop", true), readiness.register("pods in bank", true));
        shop.listed();
        bank.forbidden("403");
        bank.broken("refused");
        tokio::time::advance(Duration::from_hours(1)).await;
        let remark = "ok\npods in bank: no right, watching the rest: 403";
        assert_eq!(ready(&readiness), (true, remark.to_owned()));
        bank.listed();
        assert_eq!(ready(&readiness), (true, "ok".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_of_events_alone_makes_nothing_ready() {
        let readiness = Readiness::new();
        let (pods, events) = (readiness.register("pods", true), readiness.register("events", false));
        events.listed();
        pods.forbidden("403");
        let answer = "no Pods are watched\npods: no right, watching the rest: 403";
        assert_eq!(ready(&readiness), (false, answer.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_that_comes_back_leaves_nothing_behind() {
        let readiness = Readiness::new();
        let (shop, bank) =
            (readiness.register("pods in shop", true), readiness.register("pods in bank", true));
        shop.listed();
        bank.listed();
        bank.forbidden("403");
        bank.works();
        assert_eq!(ready(&readiness), (true, "ok".to_owned()), "a watch that goes on isn't listed again");
    }

    #[tokio::test(start_paused = true)]
    async fn not_ready_when_nothing_has_been_watched_for_more_than_a_minute() {
        let readiness = Readiness::new();
        assert_eq!(ready(&readiness), (false, "no Pods are watched".to_owned()));
        let pods = readiness.register("pods", true);
        pods.forbidden("403");
        assert!(!readiness.readiness().good, "it was never listed");
        pods.listed();
        pods.forbidden("403");
        tokio::time::advance(Duration::from_mins(1)).await;
        pods.forbidden("403");
        assert!(readiness.readiness().good);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!readiness.readiness().good);
        pods.works();
        assert!(readiness.readiness().good);
        pods.done();
        assert_eq!(ready(&readiness), (false, "no Pods are watched".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn healthy_while_the_pipeline_beats() {
        let readiness = Readiness::new();
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(readiness.health().good);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(readiness.health(), ProbeAnswer { good: false, text: "no progress for 75 s".to_owned() });
        readiness.progress();
        assert!(readiness.health().good);
    }

    #[tokio::test(start_paused = true)]
    async fn unhealthy_for_good_once_a_part_of_the_program_has_ended() {
        let readiness = Readiness::new();
        readiness.dead("the courier has ended");
        readiness.progress();
        assert_eq!(readiness.health(), ProbeAnswer { good: false, text: "the courier has ended".to_owned() });
    }
}
