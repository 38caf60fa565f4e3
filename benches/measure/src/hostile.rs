//! What the program holds at most whatever tenants write, by the same API server that the tests have. Some of it
//! stands there before the program starts, some comes while it runs. The API server is in this process: only the
//! program is measured.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use support::{
    api_server::{AnswerBody, ApiServer, Asked, Etcd, Store, streamed, whole},
    behaviour::{Answer, Behaviour},
    hostile::{as_large_as_can_be, killed_pod, with_long, with_long_names, with_long_owner},
    slack::Slack,
};
use tempfile::TempDir;
use tokio::{runtime::Builder, time::sleep};

use crate::{
    Outcome,
    parts::Run,
    process::{ResidentMemory, RunningProcess},
    server,
    table::{Goal, Row, Unit},
};

/// What the program may hold, in bytes.
const MAX_BYTES: f64 = 32e6;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_mins(3);
/// How long the program is left alone before its peak is read.
const SETTLED: Duration = Duration::from_secs(2);
/// How many kills there are of the honest tenant, half of them before the start.
const HONEST_KILLS: usize = 20;
/// How many Events look like the program's own, and how many of them a namespace has.
const FORGED_EVENTS: usize = 200_000;
const FORGED_PER_NAMESPACE: usize = 8_000;

/// What somebody does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HostileTenant {
    LongLabels,
    LongAnnotations,
    LongOwners,
    LongNames,
    ManyContainers,
    LargePods,
    LargePodsInJson,
    LargePodsInEachNamespace,
    KillsBeforeTheStart,
    Storm,
    EndlessAnswers,
    EndlessRefusals,
    ForgedEvents,
}

impl HostileTenant {
    const ALL: [Self; 13] = [
        Self::LongLabels,
        Self::LongAnnotations,
        Self::LongOwners,
        Self::LongNames,
        Self::ManyContainers,
        Self::LargePods,
        Self::LargePodsInJson,
        Self::LargePodsInEachNamespace,
        Self::KillsBeforeTheStart,
        Self::Storm,
        Self::EndlessAnswers,
        Self::EndlessRefusals,
        Self::ForgedEvents,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::LongLabels => "20 Pods with 1.2 MB of labels",
            Self::LongAnnotations => "20 Pods with 1.2 MB of annotations",
            Self::LongOwners => "20 owners with names of 1 MB",
            Self::LongNames => "5,000 kills with the longest names",
            Self::ManyContainers => "10 Pods of 1,000 killed containers",
            Self::LargePods => "6 Pods of 8.7 MB",
            Self::LargePodsInJson => "6 Pods of 8.7 MB in JSON",
            Self::LargePodsInEachNamespace => "as before, in 5 included namespaces",
            Self::KillsBeforeTheStart => "6,000 kills in the first list",
            Self::Storm => "a storm of 10,000 kills",
            Self::EndlessAnswers => "endless answers to Events",
            Self::EndlessRefusals => "endless refusals of Events",
            Self::ForgedEvents => "200,000 forged Events",
        }
    }

    /// The Pods that somebody hostile makes.
    fn pods(self) -> Vec<Value> {
        let each = |count: usize, containers, change: fn(Value) -> Value| {
            (0..count)
                .map(|number| change(killed_pod("evil", &format!("pod-{number}"), containers)))
                .collect::<Vec<_>>()
        };
        match self {
            Self::LongLabels => each(20, 60, |pod| with_long("labels", pod)),
            Self::LongAnnotations => each(20, 60, |pod| with_long("annotations", pod)),
            Self::LongOwners => each(20, 60, with_long_owner),
            Self::LongNames => each(5_000, 1, with_long_names),
            Self::ManyContainers => each(10, 1_000, |pod| pod),
            Self::LargePods | Self::LargePodsInJson => each(6, 1, as_large_as_can_be),
            Self::LargePodsInEachNamespace => (0..5)
                .map(|number| as_large_as_can_be(killed_pod(&format!("evil-{number}"), "large", 1)))
                .collect(),
            Self::KillsBeforeTheStart | Self::EndlessAnswers | Self::EndlessRefusals => {
                each(6_000, 1, |pod| pod)
            }
            Self::Storm => each(10_000, 1, |pod| pod),
            Self::ForgedEvents => Vec::new(),
        }
    }

    /// Whether the Pods come while the program runs, too.
    fn goes_on(self) -> bool {
        self != Self::KillsBeforeTheStart
    }

    /// Whether they are there when the program starts.
    fn is_there_before(self) -> bool {
        self != Self::Storm
    }

    fn speaks_json(self) -> bool {
        matches!(self, Self::LargePodsInJson | Self::LargePodsInEachNamespace)
    }

    /// What answers a POST.
    fn answer_to_post(self) -> Option<StatusCode> {
        match self {
            Self::EndlessAnswers => Some(StatusCode::CREATED),
            Self::EndlessRefusals => Some(StatusCode::FORBIDDEN),
            _ => None,
        }
    }

    fn namespaces(self) -> Vec<String> {
        match self {
            Self::LargePodsInEachNamespace => {
                (0..5).map(|number| format!("evil-{number}")).chain(["honest".to_owned()]).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The objects, and what is hostile about the API server.
struct HostileStore {
    objects: Etcd,
    hostility: HostileTenant,
}

impl Store for HostileStore {
    fn answer(&self, asked: &Asked) -> Response<AnswerBody> {
        if asked.object.is_some()
            && let Some(code) = self.hostility.answer_to_post()
        {
            let mut answer =
                streamed(stream::repeat(Bytes::from_static(&[b' '; 16 * 1024])).then(async |piece| {
                    sleep(Duration::from_millis(1)).await;
                    piece
                }));
            *answer.status_mut() = code;
            return answer;
        }
        if self.hostility == HostileTenant::ForgedEvents && asked.is_of_reported() {
            return forged_events(asked);
        }
        self.objects.answer(asked)
    }
}

/// A page of Events as the program writes them, each owed to a sink.
fn forged_events(asked: &Asked) -> Response<AnswerBody> {
    let own = asked.namespace.as_deref();
    let number = |key| asked.number(key).and_then(|number| usize::try_from(number).ok());
    let begin = number("continue").unwrap_or(0);
    let end = FORGED_EVENTS.min(begin + number("limit").unwrap_or(500));
    let events = (begin..end).filter_map(|number| {
        let namespace = format!("evil-{:03}", number / FORGED_PER_NAMESPACE);
        own.is_none_or(|own| own == namespace).then(|| forged_event(&namespace, number))
    });
    let next = (end < FORGED_EVENTS).then(|| end.to_string());
    let metadata = json!({"resourceVersion": "1000", "continue": next});
    let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": events.collect::<Vec<_>>()});
    whole(StatusCode::OK, list.to_string())
}

fn forged_event(namespace: &str, number: usize) -> Value {
    let (id, pod) = (format!("{number:032x}"), format!("pod-{number}"));
    let time = "2026-03-01T12:00:02Z";
    let finding = json!({
        "schema": "oom-finding/v1", "id": id, "namespace": namespace, "detectedAt": time,
        "pod": {"name": pod, "uid": pod, "node": "n1", "workload": {"kind": "Pod", "name": pod}},
        "container": {"name": "app", "type": "container", "image": "i".repeat(500)},
        "killed": {"containerId": format!("containerd://{id}"), "exitCode": 137, "startedAt": time, "finishedAt": time},
        "restarted": {"startedAt": time},
        "message": "m".repeat(1_000),
    });
    json!({"metadata": {
        "name": format!("{pod}.{id}"), "namespace": namespace, "resourceVersion": "999",
        "creationTimestamp": jiff::Timestamp::now().to_string(),
        "annotations": {"oom-event-generator/finding": finding.to_string(), "oom-event-generator/owed": "team,pager"},
    }})
}

/// The most that the program holds under each hostility.
pub fn measure(run: &Run) -> Outcome<Vec<Row>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let rows = HostileTenant::ALL.into_iter().map(|hostility| {
        let peaks = run.each(|program| Ok(runtime.block_on(endure(program, hostility))?.peak))?;
        let name = format!("peak memory, {}", hostility.name());
        Ok(Row::new(name, Unit::Bytes, &peaks).goal(Goal::AtMost(MAX_BYTES)))
    });
    rows.collect()
}

/// What a program holds while somebody is hostile and somebody else is not, whose kills it has to tell of.
async fn endure(program: &Path, hostility: HostileTenant) -> Outcome<ResidentMemory> {
    let home = TempDir::new()?;
    let objects = Etcd::new();
    let server = ApiServer::of(HostileStore { objects: objects.clone(), hostility });
    if hostility.speaks_json() {
        server.speak_json();
    }
    server::open(&server, home.path()).await?;
    let (slack, silent) = (Slack::good().await, Slack::always(Behaviour::fails(Answer::Never)).await);
    let config = json!({"namespaces": {"include": hostility.namespaces()}, "sinks": {
        "events": {"type": "kubernetes"},
        "printed": {"type": "stdout"},
        "team": {"type": "slack", "webhook_url": slack.url()},
        "silent": {"type": "slack", "webhook_url": silent.url()},
        "pager": {"type": "webhook", "url": slack.url(), "accept": [200]},
        "alerts": {"type": "alertmanager", "urls": [slack.host()]},
    }});
    let file = home.path().join("config.yaml");
    std::fs::write(&file, config.to_string())?;
    let put_honest = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|number| objects.put("pods", killed_pod("honest", &format!("cart-{number}"), 1)));
    };
    put_honest(0..HONEST_KILLS / 2);
    if hostility.is_there_before() {
        hostility.pods().into_iter().for_each(|pod| objects.put("pods", pod));
    }
    let client = RunningProcess::at_home(Command::new(program).arg("-c").arg(file), home.path())?;
    let is_told = |server: &ApiServer<HostileStore>| {
        if hostility.answer_to_post().is_some() {
            // No Event is ever stored.
            return server.asked().iter().filter(|asked| asked.object.is_some()).count() >= 100;
        }
        let is_honest = |event: &&Value| event["metadata"]["namespace"] == "honest";
        objects.objects("events").iter().filter(is_honest).count() == HONEST_KILLS
    };
    let begun = Instant::now();
    let mut is_begun = false;
    while !is_told(&server) {
        client.memory()?;
        if !is_begun && server.asked().iter().any(|asked| asked.is_watch("pods")) {
            is_begun = true;
            put_honest(HONEST_KILLS / 2..HONEST_KILLS);
            if hostility.goes_on() {
                for mut pod in hostility.pods() {
                    pod["metadata"]["name"] =
                        format!("later-{}", pod["metadata"]["name"].as_str().unwrap_or_default()).into();
                    pod["metadata"]["uid"] = pod["metadata"]["name"].clone();
                    objects.put("pods", pod);
                }
            }
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!(
                "{}: the honest tenant's kills weren't told of:\n{}",
                hostility.name(),
                client.stop()?
            )
            .into());
        }
        sleep(Duration::from_millis(200)).await;
    }
    sleep(SETTLED).await;
    client.memory()
}
