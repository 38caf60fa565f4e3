//! A short notation for what a kubelet shows of a Pod, so that a test reads as the case it proves:
//!
//! - `R(0,a)`: the container runs, `restartCount` 0, the instance is `a`;
//! - `T(0,a)`: its instance `a` was OOM-killed; `T(0,a,Error)`, `T(0,a,OOMKilled,3)`: another reason
//!   or exit code than 137;
//! - `W(1)`: it waits; `-`: nothing is known of its state;
//! - `+L(a)`: its `lastState` is the OOM kill of `a`, with reason and exit code as for `T`. `L(?)` has
//!   no ID and no times.
//!
//! An instance `-a` has no ID, as virtual kubelets have it; the runtime never set the times of `a?`.
//!
//! A container is named before it: `app R(0,a)`, `init:setup T(0,a)`, `sidecar:proxy`, `ephemeral:debug`.
//! Times follow from the order in which instances are first mentioned, [`PodDsl::pace`] apart.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A Pod, and what is known of its instances.
pub struct PodDsl {
    pub pod: PodIdentity,
    pub now: Timestamp,
    /// How far the node's clock is ahead.
    pub skew: SignedDuration,
    /// How long anything takes.
    pub pace: SignedDuration,
    /// What stands in the Pod's metadata, besides what tells it from others.
    pub metadata: Value,
    /// What stands in the Pod's spec, besides its containers.
    pub spec: Value,
    /// What stands in the spec of a container.
    pub container_specs: HashMap<&'static str, Value>,
    /// What stands in the status of the Pod.
    pub pod_status: Value,
    /// What stands in the status of a container.
    pub container_statuses: HashMap<&'static str, Value>,
    /// The `restartCount` of each container that was last shown.
    counts: HashMap<String, u32>,
    times: HashMap<String, Times>,
}

/// The Pod that is spoken of.
#[derive(Clone)]
pub struct PodIdentity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub mirror: Option<String>,
    pub phase: &'static str,
}

#[derive(Clone, Copy)]
struct Times {
    started: Timestamp,
    finished: Option<Timestamp>,
}

impl PodDsl {
    /// The Pod `cart` in `shop`, at this time.
    pub fn at(now: Timestamp) -> Self {
        Self {
            pod: PodIdentity {
                namespace: "shop".into(),
                name: "cart".into(),
                uid: "uid-1".into(),
                mirror: None,
                phase: "Running",
            },
            now,
            skew: SignedDuration::ZERO,
            pace: SignedDuration::from_secs(1),
            metadata: json!({}),
            spec: json!({}),
            container_specs: HashMap::new(),
            pod_status: json!({}),
            container_statuses: HashMap::new(),
            counts: HashMap::new(),
            times: HashMap::new(),
        }
    }

    /// Returns a status in which everything happens now, to the second.
    pub fn status_of_now(containers: &[&str]) -> Value {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let mut shown = Self { pace: SignedDuration::ZERO, ..Self::at(now) }.object(containers);
        shown["status"].take()
    }

    /// Returns a `Started` Event about the next instance after what was last shown of its container, with
    /// these fields beside those that all have.
    pub fn started_event(&self, container: &str, at: Timestamp, fields: Value) -> Value {
        let mut event = json!({
            "metadata": {"name": format!("{}.started", self.pod.name), "namespace": self.pod.namespace},
            "involvedObject": {
                "kind": "Pod",
                "namespace": self.pod.namespace,
                "name": self.pod.name,
                "uid": self.pod.mirror.as_ref().unwrap_or(&self.pod.uid),
                "fieldPath": format!("spec.containers{{{container}}}"),
            },
            "reason": "Started",
            "lastTimestamp": (at + self.skew).to_string(),
            "count": self.counts.get(container).map_or(1, |count| count + 2),
        });
        extend(&mut event, fields);
        event
    }

    pub fn pass(&mut self, time: SignedDuration) {
        self.now += time;
    }

    /// When the instance ended, by the program's clock.
    pub fn end_of(&self, instance: &str) -> Timestamp {
        self.times[instance].finished.unwrap()
    }

    pub fn tick(&mut self) -> Timestamp {
        self.now += self.pace;
        self.now
    }

    /// Returns the Pod with these containers, as the API server has it.
    pub fn object(&mut self, containers: &[&str]) -> Value {
        let mut spec = json!({"nodeName": "n1"});
        extend(&mut spec, self.spec.clone());
        let mut status = json!({"phase": self.pod.phase});
        extend(&mut status, self.pod_status.clone());
        for container in containers {
            let (name, notation) = container.split_once(' ').unwrap();
            let (kind, name) = name.split_once(':').unwrap_or(("container", name));
            let (list, statuses) = match kind {
                "container" => ("containers", "containerStatuses"),
                "init" | "sidecar" => ("initContainers", "initContainerStatuses"),
                "ephemeral" => ("ephemeralContainers", "ephemeralContainerStatuses"),
                kind => panic!("no kind of container: {kind}"),
            };
            let mut described =
                json!({"name": name, "image": "i", "resources": {"limits": {"memory": "64Mi"}}});
            if kind == "sidecar" {
                described["restartPolicy"] = "Always".into();
            }
            extend(&mut described, self.container_specs.get(name).cloned().unwrap_or_default());
            push(&mut spec, list, described);
            let mut shown = self.container(name, notation);
            extend(&mut shown, self.container_statuses.get(name).cloned().unwrap_or_default());
            push(&mut status, statuses, shown);
        }
        let mut metadata = json!({"name": self.pod.name, "namespace": self.pod.namespace, "uid": self.pod.uid, "labels": null});
        if let Some(mirror) = &self.pod.mirror {
            metadata["annotations"] = json!({"kubernetes.io/config.mirror": mirror});
        }
        extend(&mut metadata, self.metadata.clone());
        json!({"metadata": metadata, "spec": spec, "status": status})
    }

    fn container(&mut self, name: &str, notation: &str) -> Value {
        let (state, last) = notation.split_once("+L").unwrap_or((notation, ""));
        let mut status = json!({
            "name": name, "restartCount": 0, "state": {}, "lastState": {},
            "ready": state.starts_with('R'), "started": state.starts_with('R'), "image": "i", "imageID": "i",
        });
        if !last.is_empty() {
            status["lastState"] = json!({"terminated": self.ended(&arguments(last))});
        }
        let arguments = arguments(state);
        if let Some(count) = arguments.first().filter(|count| !count.is_empty()) {
            let count = count.parse().unwrap();
            self.counts.insert(name.to_owned(), count);
            status["restartCount"] = count.into();
        }
        match state.as_bytes()[0] {
            b'R' => {
                status["containerID"] = id(arguments[1]).into();
                let started = self.times(arguments[1]).started;
                status["state"] = json!({"running": {"startedAt": self.time(arguments[1], started)}});
            }
            b'T' => {
                status["containerID"] = id(arguments[1]).into();
                status["state"] = json!({"terminated": self.ended(&arguments[1..])});
            }
            b'W' => {
                // It still names the dead one.
                status["containerID"] = status["lastState"]["terminated"]["containerID"].clone();
                status["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
            }
            _ => {}
        }
        status
    }

    fn ended(&mut self, arguments: &[&str]) -> Value {
        let reason = arguments.get(1).copied().unwrap_or("OOMKilled");
        let exit_code: i32 = arguments.get(2).map_or(137, |code| code.parse().unwrap());
        if arguments[0] == "?" {
            return json!({"reason": reason, "exitCode": exit_code, "startedAt": null, "finishedAt": null});
        }
        let times = self.times(arguments[0]);
        let finished = if let Some(finished) = times.finished {
            finished
        } else {
            let finished = self.tick();
            self.times.get_mut(arguments[0]).unwrap().finished = Some(finished);
            finished
        };
        json!({
            "reason": reason,
            "exitCode": exit_code,
            "containerID": id(arguments[0]),
            "startedAt": self.time(arguments[0], times.started),
            "finishedAt": self.time(arguments[0], finished),
        })
    }

    fn time(&self, instance: &str, at: Timestamp) -> String {
        if instance.ends_with('?') { Timestamp::UNIX_EPOCH.to_string() } else { (at + self.skew).to_string() }
    }

    fn times(&mut self, instance: &str) -> Times {
        if !self.times.contains_key(instance) {
            let started = self.tick();
            self.times.insert(instance.to_owned(), Times { started, finished: None });
        }
        self.times[instance]
    }
}

/// A container ID as a runtime writes it.
pub fn id(instance: &str) -> String {
    if instance.starts_with('-') { String::new() } else { format!("containerd://{instance}") }
}

fn arguments(text: &str) -> Vec<&str> {
    let Some((_, inner)) = text.split_once('(') else { return Vec::new() };
    inner.trim_end_matches(')').split(',').map(str::trim).collect()
}

fn extend(object: &mut Value, fields: Value) {
    if let (Value::Object(object), Value::Object(fields)) = (object, fields) {
        object.extend(fields);
    }
}

fn push(object: &mut Value, list: &str, item: Value) {
    match object[list].as_array_mut() {
        Some(items) => items.push(item),
        None => object[list] = json!([item]),
    }
}
