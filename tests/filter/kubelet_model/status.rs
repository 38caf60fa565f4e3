//! What the API server shows of a Pod, and how the source decodes it.

use finding::ContainerKind;
use kubernetes_oom_event_generator::source::objects::{
    ContainerState, ContainerStatus, Event, MemoryAmount, Phase, Pod, Resources, Running, Started, Terminated,
};
use serde_json::{Value, json};

use super::{
    container::{Limit, ModelContainer, ShownEnd, ShownState, ShownStatus, TrueInstance},
    kubelet::{ModelPod, Rule},
};

pub const NAMESPACE: &str = "shop";

/// A Pod as the API server shows it, by reference to what is true.
#[derive(Clone, Debug)]
pub struct PodSnapshot {
    pub pod: usize,
    pub incarnation: u32,
    pub phase: &'static str,
    /// The limits that the spec asks for: of the whole, and of each container.
    pub asked: Vec<Limit>,
    /// The limit of the whole that is in force.
    pub given: Limit,
    /// None before the kubelet has said anything.
    pub containers: Option<Vec<ShownStatus>>,
    /// Its place among all that the API server was told.
    pub version: usize,
    pub written_at: i64,
    /// How often a count in it fell. Older statuses than that tell nothing, for they look newer.
    pub falls: u32,
}

impl PodSnapshot {
    pub fn is_over(&self) -> bool {
        matches!(self.phase, "Failed" | "Succeeded")
    }
}

/// A `Started` Event that reached the API server.
#[derive(Clone, Copy, Debug)]
pub struct EventSnapshot {
    pub pod: usize,
    /// The container that was started, and the instance.
    pub container: usize,
    pub instance: usize,
    /// The container that the Event names.
    pub named: usize,
    pub combined: bool,
    /// In seconds of its node's clock.
    pub at: i64,
    pub count: u32,
}

impl ModelPod {
    pub fn uid(&self, incarnation: u32) -> String {
        format!("uid-{}-{incarnation}", self.number)
    }

    /// The UID that its kubelet's Events carry.
    pub fn event_uid(&self) -> String {
        if self.is_static { format!("static-{}", self.number) } else { self.uid(0) }
    }
}

impl TrueInstance {
    /// When it was started, as a status shows it.
    pub fn start_shown(&self, skew: i64) -> Option<i64> {
        self.started.filter(|_| self.shows.0).map(|at| at.div_euclid(1000) + skew)
    }

    /// When it ended, as a status shows it.
    pub fn end_shown(&self, skew: i64) -> Option<i64> {
        self.ended.filter(|_| self.shows.1).map(|at| at.div_euclid(1000) + skew)
    }
}

/// The Pod as the source would decode it, but for its status.
pub fn describe(pod: &ModelPod, asked: &[Limit]) -> Pod {
    let resources = |limit: Limit| limit.map(|limit| json!({"limits": {"memory": format!("{limit}Mi")}}));
    let list = |name: &str| {
        let containers = pod.containers.iter().zip(&asked[1..]);
        let containers = containers.filter(|(container, _)| container.kind.spec_field() == name);
        let spec = |(container, asked): (&ModelContainer, &Limit)| {
            json!({
                "name": container.name,
                "restartPolicy": container.policy.map(|policy| format!("{policy:?}")),
                "restartPolicyRules": rules(pod, container),
                "resources": resources(*asked),
            })
        };
        containers.map(spec).collect::<Vec<_>>()
    };
    let mirror = pod.is_static.then(|| json!({"kubernetes.io/config.mirror": pod.event_uid()}));
    let described = json!({
        "metadata": {"name": pod.name, "namespace": NAMESPACE, "uid": pod.uid(0), "annotations": mirror},
        "spec": {
            "nodeName": format!("n{}", pod.node),
            "restartPolicy": format!("{:?}", pod.policy),
            "resources": resources(asked[0]),
            "containers": list("containers"),
            "initContainers": list("initContainers"),
            "ephemeralContainers": list("ephemeralContainers"),
        },
    });
    serde_json::from_value(described).expect("a Pod")
}

fn rules(pod: &ModelPod, container: &ModelContainer) -> Vec<Value> {
    let rule = |rule: &Rule| {
        let operator = if rule.is_in { "In" } else { "NotIn" };
        json!({"action": "Restart", "exitCodes": {"operator": operator, "values": rule.codes}})
    };
    let all = json!({"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}});
    let has_all = pod.restarts_all && container.name == "app";
    container.rules.iter().map(rule).chain(has_all.then_some(all)).collect()
}

/// The Pod with the status that the API server shows.
pub fn complete(pod: &ModelPod, described: &Pod, shown: &PodSnapshot, skew: i64) -> Box<Pod> {
    let mut described = Box::new(described.clone());
    described.metadata.uid = pod.uid(shown.incarnation);
    let status = &mut described.status;
    status.resources = resources(shown.given);
    status.phase = if shown.is_over() { Phase::Over } else { Phase::Alive };
    for (container, shown) in pod.containers.iter().zip(shown.containers.iter().flatten()) {
        let list = match container.kind {
            ContainerKind::Container => &mut status.container_statuses,
            ContainerKind::Init | ContainerKind::Sidecar => &mut status.init_container_statuses,
            ContainerKind::Ephemeral => &mut status.ephemeral_container_statuses,
        };
        list.push(container_status(container, shown, skew));
    }
    described
}

fn container_status(container: &ModelContainer, shown: &ShownStatus, skew: i64) -> ContainerStatus {
    let instances = &container.instances;
    let newest = shown.current().or(shown.last.and_then(|last| last.instance));
    let ended = |record: ShownEnd| ContainerState {
        terminated: Some(terminated(instances, record, skew)),
        running: None,
    };
    let state = match shown.state {
        ShownState::Waiting => ContainerState::default(),
        ShownState::Running(running) => {
            let started_at = instances[running].start_shown(skew).map(timestamp);
            ContainerState { running: Some(Running { started_at }), terminated: None }
        }
        ShownState::Ended(record) => ended(record),
    };
    ContainerStatus {
        name: container.name.clone(),
        restart_count: Some(shown.count),
        container_id: newest.and_then(|newest| instances[newest].id.clone()),
        state,
        last_state: shown.last.map(ended).unwrap_or_default(),
        resources: resources(shown.given),
        ..ContainerStatus::default()
    }
}

fn resources(limit: Limit) -> Resources {
    Resources { limits: MemoryAmount { bytes: limit.map(|limit| limit << 20) }, ..Resources::default() }
}

fn terminated(instances: &[TrueInstance], record: ShownEnd, skew: i64) -> Terminated {
    let instance = record.instance.map(|instance| &instances[instance]);
    Terminated {
        reason: record.reason.to_owned(),
        exit_code: Some(record.exit_code),
        container_id: instance.and_then(|instance| instance.id.clone()),
        started_at: instance.and_then(|instance| instance.start_shown(skew)).map(timestamp),
        finished_at: instance.and_then(|instance| instance.end_shown(skew)).map(timestamp),
    }
}

pub fn timestamp(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(seconds).expect("a time in this millennium")
}

/// The start that the source would read out of the Event.
pub fn decode_event(pod: &ModelPod, event: EventSnapshot) -> Option<Started> {
    let container = &pod.containers[event.named];
    let combined = if event.combined { "(combined from similar events): " } else { "" };
    let object = json!({
        "kind": "Pod",
        "namespace": NAMESPACE,
        "name": pod.name,
        "uid": pod.event_uid(),
        "fieldPath": format!("spec.{}{{{}}}", container.kind.spec_field(), container.name),
    });
    let event = json!({
        "metadata": {"name": "e", "namespace": NAMESPACE},
        "reason": "Started",
        "message": format!("{combined}Container started"),
        "lastTimestamp": timestamp(event.at).to_string(),
        "count": event.count,
        "involvedObject": object,
    });
    serde_json::from_value::<Event>(event).expect("an Event").into_started()
}
