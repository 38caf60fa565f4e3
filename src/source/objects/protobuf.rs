//! The same fields in Protobuf. Their numbers stand in Kubernetes' `generated.proto` (of `core/v1`, `meta/v1` and
//! `resource`), and never change.

use cluster::protobuf::{WireError, WireMessage, WireValue};
use jiff::Timestamp;

use super::{
    Annotations, ContainerSpec, ContainerState, ContainerStatus, Event, ExitCodeOperator, ExitCodes,
    InvolvedObject, MemoryAmount, ObjectMetadata, OwnerReference, Phase, Pod, PodMetadata, PodSpec,
    PodStatus, Resources, RestartAction, RestartPolicy, RestartRule, Running, Terminated,
    event::{EventMetadata, EventSeries, EventSource},
    labels::add_label,
    quantity,
    text::{short_image, short_name},
    volumes::MAX_VOLUMES,
};

impl WireMessage for ObjectMetadata {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.name = text(value),
            3 => self.namespace = text(value),
            6 => self.resource_version = text(value),
            _ => {}
        }
    }
}

impl WireMessage for Pod {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.metadata = value.message().unwrap_or_default(),
            2 => self.spec = value.message().unwrap_or_default(),
            3 => self.status = value.message().unwrap_or_default(),
            _ => {}
        }
    }

    fn check(&self) -> Result<(), WireError> {
        let PodMetadata { name, namespace, uid, .. } = &self.metadata;
        match [(name, "name"), (namespace, "namespace"), (uid, "uid")].iter().find(|(it, _)| it.is_empty()) {
            Some((_, field)) => Err(WireError::Missing(field)),
            None => Ok(()),
        }
    }
}

impl WireMessage for PodMetadata {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.name = name(value),
            3 => self.namespace = name(value),
            5 => self.uid = name(value),
            6 => self.resource_version = text(value),
            7 => {
                self.generation =
                    value.number().and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
            }
            8 => self.creation_timestamp = time_of(value),
            11 => {
                if let Some((key, value)) = value.entry() {
                    add_label(&mut self.labels, &key.text(), &value.text());
                }
            }
            12 => {
                if let Some((key, value)) = value.entry() {
                    self.annotations.add(&key.text(), value);
                }
            }
            13 => self.owner_references.extend(value.message::<OwnerReference>()),
            _ => {}
        }
    }
}

impl Annotations {
    fn add(&mut self, key: &str, value: WireValue<'_>) {
        match key {
            "kubernetes.io/config.mirror" => self.mirror = some_name(value),
            "openshift.io/deployment-config.name" => self.deployment_config = some_name(value),
            "oom-event-generator/ignore" => self.ignore = value.bytes() == b"true",
            "openshift.io/deployment.name" => self.deployment = some_name(value),
            _ => {}
        }
    }
}

impl WireMessage for OwnerReference {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.kind = name(value),
            3 => self.name = name(value),
            5 => self.api_version = text(value),
            6 => self.controller = value.number().is_some_and(|is| is != 0),
            _ => {}
        }
    }
}

impl WireMessage for PodSpec {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => add_memory_volume(&mut self.memory_volumes, value),
            2 => self.containers.extend(value.message::<ContainerSpec>()),
            3 => self.restart_policy = restart_policy(value),
            10 => self.node_name = some_name(value),
            20 => self.init_containers.extend(value.message::<ContainerSpec>()),
            34 => self
                .ephemeral_containers
                .extend(value.message().map(|EphemeralContainer(container)| container)),
            40 => self.resources = value.message().unwrap_or_default(),
            _ => {}
        }
    }
}

/// An ephemeral container has the fields of any other, one message deeper.
#[derive(Default)]
struct EphemeralContainer(ContainerSpec);

impl WireMessage for EphemeralContainer {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        if number == 1 {
            self.0 = value.message().unwrap_or_default();
        }
    }
}

impl WireMessage for ContainerSpec {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.name = name(value),
            2 => self.image = Some(short_image(&value.text())).filter(|image| !image.is_empty()),
            8 => self.resources = value.message().unwrap_or_default(),
            9 if self.mounted_volumes.len() < MAX_VOLUMES => {
                self.mounted_volumes.extend(value.entry().map(|(volume, _)| name(volume)));
            }
            24 => self.restart_policy = Some(restart_policy(value)),
            25 => self.restart_policy_rules.extend(value.message::<RestartRule>()),
            _ => {}
        }
    }
}

/// Adds the name of a volume (1) if its source (2) is an `emptyDir` (2) whose medium (1) is memory.
fn add_memory_volume(volumes: &mut Vec<String>, volume: WireValue<'_>) {
    let Some((volume, source)) = volume.entry() else { return };
    let medium = source.entry().and_then(|(_, empty_dir)| Some(empty_dir.entry()?.0));
    if volumes.len() < MAX_VOLUMES && medium.is_some_and(|medium| medium.bytes() == b"Memory") {
        volumes.push(name(volume));
    }
}

fn restart_policy(value: WireValue<'_>) -> RestartPolicy {
    match value.bytes() {
        b"OnFailure" => RestartPolicy::OnFailure,
        b"Never" => RestartPolicy::Never,
        _ => RestartPolicy::Always,
    }
}

impl WireMessage for RestartRule {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => {
                self.action = match value.bytes() {
                    b"Restart" => RestartAction::Restart,
                    b"RestartAllContainers" => RestartAction::RestartAllContainers,
                    _ => RestartAction::Unknown,
                }
            }
            2 => self.exit_codes = value.message(),
            _ => {}
        }
    }
}

impl WireMessage for ExitCodes {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => {
                self.operator = match value.bytes() {
                    b"In" => ExitCodeOperator::In,
                    b"NotIn" => ExitCodeOperator::NotIn,
                    _ => ExitCodeOperator::Unknown,
                }
            }
            2 => self.values.extend(value.int32()),
            _ => {}
        }
    }
}

impl WireMessage for Resources {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.limits.add(value),
            2 => self.requests.add(value),
            _ => {}
        }
    }
}

impl MemoryAmount {
    /// Takes in an entry of a list of resources.
    fn add(&mut self, entry: WireValue<'_>) {
        let Some((resource, amount)) = entry.entry() else { return };
        if resource.bytes() == b"memory" {
            // A quantity is a message, whose first field is its text.
            self.bytes = amount.entry().and_then(|(text, _)| quantity::bytes_of(&text.text()));
        }
    }
}

impl WireMessage for PodStatus {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => {
                let is_over = matches!(value.bytes(), b"Failed" | b"Succeeded");
                self.phase = if is_over { Phase::Over } else { Phase::Alive };
            }
            8 => self.container_statuses.extend(value.message::<ContainerStatus>()),
            10 => self.init_container_statuses.extend(value.message::<ContainerStatus>()),
            13 => self.ephemeral_container_statuses.extend(value.message::<ContainerStatus>()),
            20 => self.resources = value.message().unwrap_or_default(),
            _ => {}
        }
    }
}

impl WireMessage for ContainerStatus {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.name = name(value),
            2 => self.state = value.message().unwrap_or_default(),
            3 => self.last_state = value.message().unwrap_or_default(),
            5 => self.restart_count = value.number().and_then(|count| u32::try_from(count).ok()),
            8 => self.container_id = some_name(value),
            10 => self.allocated_resources.add(value),
            11 => self.resources = value.message().unwrap_or_default(),
            _ => {}
        }
    }
}

impl WireMessage for ContainerState {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            2 => self.running = value.message(),
            3 => self.terminated = value.message(),
            _ => {}
        }
    }
}

impl WireMessage for Running {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        if number == 1 {
            self.started_at = time_of(value);
        }
    }
}

impl WireMessage for Terminated {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.exit_code = value.int32(),
            3 => self.reason = text(value),
            5 => self.started_at = time_of(value),
            6 => self.finished_at = time_of(value),
            7 => self.container_id = some_name(value),
            _ => {}
        }
    }
}

impl WireMessage for Event {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.metadata = value.message().unwrap_or_default(),
            2 => self.involved_object = value.message().unwrap_or_default(),
            3 => self.reason = text(value),
            4 => self.message = text(value),
            7 => self.last_timestamp = time_of(value),
            8 => self.count = value.number().unwrap_or_default(),
            10 => self.time = time_of(value),
            5 => self.source = value.message().unwrap_or_default(),
            11 => self.series = value.message().unwrap_or_default(),
            14 => self.reporting_component = name(value),
            _ => {}
        }
    }
}

impl WireMessage for EventMetadata {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            3 => self.namespace = name(value),
            6 => self.resource_version = text(value),
            _ => {}
        }
    }
}

impl WireMessage for EventSource {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        if number == 1 {
            self.component = name(value);
        }
    }
}

impl WireMessage for InvolvedObject {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.kind = text(value),
            2 => self.namespace = name(value),
            3 => self.name = name(value),
            4 => self.uid = name(value),
            7 => self.field_path = name(value),
            _ => {}
        }
    }
}

impl WireMessage for EventSeries {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.count = value.number().unwrap_or_default(),
            2 => self.last_observed_time = time_of(value),
            _ => {}
        }
    }
}

fn text(value: WireValue<'_>) -> String {
    value.text().into_owned()
}

fn name(value: WireValue<'_>) -> String {
    short_name(&value.text())
}

fn some_name(value: WireValue<'_>) -> Option<String> {
    Some(name(value)).filter(|name| !name.is_empty())
}

/// Reads a time. One that was never set is empty; one that isn't after 1970 is unknown, as in JSON.
pub(in crate::source) fn time_of(value: WireValue<'_>) -> Option<Timestamp> {
    let (seconds, nanoseconds) = value.entry()?;
    let time = Timestamp::new(seconds.number()?, nanoseconds.int32().unwrap_or_default()).ok()?;
    Some(time).filter(|time| *time > Timestamp::UNIX_EPOCH)
}
