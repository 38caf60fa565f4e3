//! What becomes of kills when the API server has a bad day: whatever it does, nothing is lost, nothing
//! told twice, it is asked at most once a second, and all goes on by itself when it is over.
//!
//! All of it is compiled twice (`source_in_json`): an API server answers in Protobuf, or knows JSON alone.
//!
//! Time is paused: "an hour later" takes no time, and comes only when there is nothing left to do.

mod answers;
mod clocks;
mod connections;
mod credentials;
mod lists;
mod memory;
mod nodes;
mod outages;
mod own_events;
mod refusals;
mod rights;
mod silence;
mod versions;
mod watches;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kubernetes_oom_event_generator::{
    filter::{Conclusion, Filter},
    health::Readiness,
    metrics::Metrics,
    source::observe,
};
use serde_json::{Value, json};
use support::{
    api_server::ApiServer,
    log,
    pod_dsl::{PodDsl, PodIdentity, id},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::filter::case::settings;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// How long it may take until all is well again: a request that is still waited for, the longest
/// pause, and a watch's proof.
const RECOVERY: Duration = Duration::from_mins(2);

/// The source and the filter at work.
pub struct Watching {
    server: ApiServer,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    found: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Watching {
    /// Watches the whole cluster, and has seen all there is unless something hinders it.
    pub async fn begin(server: &ApiServer) -> Self {
        Self::begin_in(server, &[]).await
    }

    /// As [`begin`](Self::begin), these namespaces alone.
    async fn begin_in(server: &ApiServer, namespaces: &[&str]) -> Self {
        log::begin();
        if module_path!().contains("json") {
            server.speak_json();
        }
        let (metrics, readiness) = (Arc::new(Metrics::new()), Readiness::new());
        let found = Arc::new(Mutex::new(Vec::new()));
        let namespaces: Vec<_> = namespaces.iter().map(|name| (*name).to_owned()).collect();
        let mut observations = observe::observe(&server.client(), &namespaces, &metrics, &readiness);
        let mut task = JoinSet::new();
        let findings = Arc::clone(&found);
        task.spawn(async move {
            let mut filter = Filter::new(settings());
            while let Some(observation) = observations.next(true).await {
                for conclusion in filter.observe(observation, Some(Timestamp::now())) {
                    if let Conclusion::Finding(finding) = conclusion {
                        // Whoever writes a Pod may leave the ID out.
                        findings.lock().unwrap().push(finding.killed.container_id.unwrap_or_default());
                    }
                }
            }
        });
        sleep(SECOND * 10).await;
        let server = server.clone();
        Self { server, metrics, readiness, found, _task: task }
    }

    /// These kills were found, each once, and the API server wasn't asked more often than is right.
    #[track_caller]
    fn finds(&self, instances: &[&str]) {
        let mut found = self.found.lock().unwrap().clone();
        found.sort();
        let mut expected: Vec<_> = instances.iter().map(|instance| id(instance)).collect();
        expected.sort();
        assert_eq!(found, expected);
        self.asks_gently();
    }

    /// No watch asks more than once a second, but for a few requests that follow each other once.
    #[track_caller]
    fn asks_gently(&self) {
        let mut watches: BTreeMap<_, Vec<Instant>> = BTreeMap::new();
        for asked in self.server.asked().into_iter().filter(|asked| !asked.is_next_page()) {
            let watch = (asked.is_of_reported(), asked.resource, asked.namespace);
            watches.entry(watch).or_default().push(asked.at);
        }
        for (watch, times) in watches {
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let (requests, time) = (last - first + 1, to.duration_since(*from));
                    assert!(requests as u64 <= time.as_secs() + 3, "{watch:?}: {requests} in {time:?}");
                }
            }
        }
    }

    /// Within the last ten minutes the API server was left alone for 15 seconds after each failure: a
    /// list and the watch after it at most.
    #[track_caller]
    fn has_slowed_down(&self, resource: &str) {
        let recent = |at: Instant| at.elapsed() < MINUTE * 10;
        let asked = self.server.asked();
        let recent = asked
            .iter()
            .filter(|asked| asked.resource == resource && !asked.is_of_nodes() && recent(asked.at));
        let count = recent.filter(|asked| !asked.is_next_page()).count();
        assert!((15..=80).contains(&count), "{count} requests in the last ten minutes");
    }

    fn is_ready(&self) -> bool {
        self.readiness.readiness().good
    }

    fn readyz(&self) -> String {
        self.readiness.readiness().text
    }

    /// The value of a metric of a resource, such as `watch_errors_total`.
    fn metric(&self, name: &str, resource: &str) -> u64 {
        let text = self.metrics.render(Instant::now());
        let name = format!("oom_event_generator_{name}{{resource=\"{resource}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }

    /// The lines that were logged at this level.
    fn logged(level: &str) -> Vec<String> {
        log::logged(&[&format!(" {level} kubernetes_oom_event_generator")])
    }

    /// Nobody was alarmed.
    #[track_caller]
    fn is_quiet(&self) {
        assert!(self.is_ready(), "{}", self.readyz());
        assert_eq!(Self::logged("WARN"), [""; 0]);
        assert_eq!(Self::logged("ERROR"), [""; 0]);
        for resource in ["pods", "events"] {
            assert_eq!(self.metric("watch_errors_total", resource), 0);
        }
    }

    /// It is over: the program finds its way by itself.
    pub async fn recovers(&self) {
        self.server.behave();
        sleep(RECOVERY).await;
        assert!(self.is_ready(), "{}", self.readyz());
        self.server.put("pods", restarted("afterwards", 1));
        sleep(SECOND).await;
        let found = self.found.lock().unwrap().iter().any(|found| *found == id("afterwards-0"));
        assert!(found, "a kill after the trouble was not found");
    }
}

/// A Pod whose container runs for the `count`th time after it was OOM-killed just now: the instance
/// `NAME-COUNT` after `NAME-(COUNT - 1)`.
pub fn restarted(name: &str, count: u32) -> Value {
    restarted_at(name, count, Timestamp::now())
}

/// As [`restarted`], then.
fn restarted_at(name: &str, count: u32, at: Timestamp) -> Value {
    let last = count.checked_sub(1).map(|last| format!("+L({name}-{last})"));
    shown("shop", name, &format!("R({count},{name}-{count}){}", last.unwrap_or_default()), at)
}

/// A Pod whose container was OOM-killed just now, its instance `NAME-COUNT`.
fn killed(name: &str, count: u32) -> Value {
    shown("shop", name, &format!("T({count},{name}-{count})"), Timestamp::now())
}

/// A Pod whose container is shown so, in the notation of [`PodDsl`].
fn shown(namespace: &str, name: &str, container: &str, at: Timestamp) -> Value {
    named(namespace, name, at).object(&[&format!("app {container}")])
}

/// The Event that says that the container of a Pod was started once more.
fn started(name: &str) -> Value {
    let now = Timestamp::now();
    named("shop", name, now).started_event("app", now, json!({"count": 2}))
}

fn named(namespace: &str, name: &str, at: Timestamp) -> PodDsl {
    let mut dsl = PodDsl::at(at - SignedDuration::from_secs(3));
    let (namespace, uid) = (namespace.to_owned(), format!("{namespace}-{name}"));
    dsl.pod = PodIdentity { namespace, name: name.to_owned(), uid, ..dsl.pod };
    dsl
}
