//! What the API server shows of a Pod, and how it is written.

use kubernetes_oom_event_generator::source::objects::{Event, Pod as SourcePod, Started};
use sinks::ContainerKind;

use super::kubelet::{Instance, Pod, Record, Shown, State};

pub const NAMESPACE: &str = "shop";

/// A Pod as the API server shows it, by reference to what is true.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub pod: usize,
    pub incarnation: u32,
    pub phase: &'static str,
    /// None before the kubelet has said anything.
    pub containers: Option<Vec<Shown>>,
    /// Its place among all that the API server was told.
    pub version: usize,
    pub written_at: i64,
    /// How often a count in it fell. Older statuses than that tell nothing, for they look newer.
    pub falls: u32,
}

/// A `Started` Event that reached the API server.
#[derive(Clone, Copy, Debug)]
pub struct EventSnapshot {
    pub pod: usize,
    /// The container that was started.
    pub container: usize,
    /// The container that the Event names.
    pub named: usize,
    pub combined: bool,
    /// In seconds of its node's clock.
    pub at: i64,
}

impl Pod {
    pub fn uid(&self, incarnation: u32) -> String {
        format!("uid-{}-{incarnation}", self.number)
    }

    /// The UID that its kubelet's Events carry.
    pub fn event_uid(&self) -> String {
        if self.is_static { format!("static-{}", self.number) } else { self.uid(0) }
    }
}

impl Instance {
    /// When it was started, as a status shows it.
    pub fn start_shown(&self, skew: i64) -> Option<i64> {
        self.started.filter(|_| self.shows_start).map(|at| at.div_euclid(1000) + skew)
    }

    /// When it ended, as a status shows it.
    pub fn end_shown(&self, skew: i64) -> Option<i64> {
        self.ended.filter(|_| self.shows_end).map(|at| at.div_euclid(1000) + skew)
    }
}

/// The Pod as the source would decode it.
pub fn decode(pod: &Pod, shown: &Snapshot, skew: i64) -> Box<SourcePod> {
    let mut spec = Lists::default();
    let mut status = Lists::default();
    for container in &pod.containers {
        let policy =
            if container.kind == ContainerKind::Sidecar { r#","restartPolicy":"Always""# } else { "" };
        spec.push(container.kind, format!(r#"{{"name":"{}","image":"i"{policy}}}"#, container.name));
    }
    for (container, shown) in pod.containers.iter().zip(shown.containers.iter().flatten()) {
        status.push(container.kind, container_status(&container.name, &container.instances, shown, skew));
    }
    let annotations = if pod.is_static {
        format!(r#","annotations":{{"kubernetes.io/config.mirror":"{}"}}"#, pod.event_uid())
    } else {
        String::new()
    };
    let json = format!(
        r#"{{"metadata":{{"name":"{}","namespace":"{NAMESPACE}","uid":"{}","labels":null{annotations}}},
            "spec":{{"nodeName":"n{}"{}}},"status":{{"phase":"{}"{}}}}}"#,
        pod.name,
        pod.uid(shown.incarnation),
        pod.node,
        spec.write(["containers", "initContainers", "ephemeralContainers"]),
        shown.phase,
        status.write(["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"]),
    );
    serde_json::from_str(&json).expect(&json)
}

fn container_status(name: &str, instances: &[Instance], shown: &Shown, skew: i64) -> String {
    let newest = shown.current().or(shown.last.and_then(|last| last.instance));
    let id = newest.and_then(|newest| instances[newest].id.as_deref()).unwrap_or_default();
    let state = match shown.state {
        State::Waiting => r#""waiting":{"reason":"CrashLoopBackOff"}"#.to_owned(),
        State::Running(running) => {
            format!(r#""running":{{"startedAt":{}}}"#, time(instances[running].start_shown(skew)))
        }
        State::Ended(record) => terminated(instances, record, skew),
    };
    let last = shown.last.map(|record| terminated(instances, record, skew)).unwrap_or_default();
    format!(
        r#"{{"name":"{name}","restartCount":{},"containerID":"{id}","state":{{{state}}},"lastState":{{{last}}}}}"#,
        shown.count
    )
}

fn terminated(instances: &[Instance], record: Record, skew: i64) -> String {
    let instance = record.instance.map(|instance| &instances[instance]);
    let id = instance.and_then(|instance| instance.id.as_deref());
    format!(
        r#""terminated":{{"reason":"{}","exitCode":{},"startedAt":{},"finishedAt":{}{}}}"#,
        record.reason,
        record.exit_code,
        time(instance.and_then(|instance| instance.start_shown(skew))),
        time(instance.and_then(|instance| instance.end_shown(skew))),
        id.map(|id| format!(r#","containerID":"{id}""#)).unwrap_or_default(),
    )
}

/// A runtime that never set a time reports 0; what has no time at all is written as null.
fn time(seconds: Option<i64>) -> String {
    match seconds {
        Some(seconds) => format!(r#""{}""#, timestamp(seconds)),
        None => r#""1970-01-01T00:00:00Z""#.to_owned(),
    }
}

pub fn timestamp(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(seconds).expect("a time in this millennium")
}

/// The start that the source would read out of the Event.
pub fn decode_event(pod: &Pod, event: EventSnapshot) -> Option<Started> {
    let container = &pod.containers[event.named];
    let list = container.kind.spec_field();
    let combined = if event.combined { "(combined from similar events): " } else { "" };
    let json = format!(
        r#"{{"metadata":{{"name":"e","namespace":"{NAMESPACE}"}},"reason":"Started",
            "message":"{combined}Container started","lastTimestamp":"{}",
            "involvedObject":{{"kind":"Pod","namespace":"{NAMESPACE}","name":"{}","uid":"{}",
            "fieldPath":"spec.{list}{{{}}}"}}}}"#,
        timestamp(event.at),
        pod.name,
        pod.event_uid(),
        container.name,
    );
    serde_json::from_str::<Event>(&json).expect(&json).into_started()
}

/// JSON items in the lists that a Pod keeps them in.
#[derive(Default)]
struct Lists([Vec<String>; 3]);

impl Lists {
    fn push(&mut self, kind: ContainerKind, item: String) {
        let [containers, init, ephemeral] = &mut self.0;
        match kind {
            ContainerKind::Container => containers.push(item),
            ContainerKind::Init | ContainerKind::Sidecar => init.push(item),
            ContainerKind::Ephemeral => ephemeral.push(item),
        }
    }

    fn write(&self, names: [&str; 3]) -> String {
        let lists = self.0.iter().zip(names).filter(|(items, _)| !items.is_empty());
        lists.map(|(items, name)| format!(r#","{name}":[{}]"#, items.join(","))).collect()
    }
}
