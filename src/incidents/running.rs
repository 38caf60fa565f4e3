//! What runs in place of the instances that were killed: which Pods are gone, which limit and image the newest
//! instance has.

use jiff::Timestamp;

use crate::source::objects::Pod;

/// How many killed Pods of an incident are told apart.
const MAX_KILLED_PODS: usize = 128;

/// How many running instances of an incident are remembered.
const MAX_INSTANCES: usize = 4;

/// The Pods of an incident.
#[derive(Debug, Default)]
pub(super) struct IncidentPods {
    killed: Vec<KilledPod>,
    /// The newest instances that run, as far as was seen since the incident began.
    instances: Vec<RunningInstance>,
}

/// A Pod with a kill.
#[derive(Clone, Copy, Debug)]
struct KilledPod {
    hash: u32,
    is_gone: bool,
    /// Whether the list that is under way has shown it.
    is_listed: bool,
}

/// An instance of the container.
#[derive(Clone, Debug)]
pub(super) struct RunningInstance {
    pod: u32,
    started_at: Timestamp,
    is_listed: bool,
    /// Its memory limit, in bytes.
    pub(super) limit: Option<u64>,
    /// Its image.
    pub(super) image: Option<String>,
}

impl IncidentPods {
    /// Takes in a kill in a Pod.
    pub(super) fn add(&mut self, hash: u32) {
        // A list under way may have shown it before.
        let killed = KilledPod { hash, is_gone: false, is_listed: true };
        if let Some(pod) = self.killed.iter_mut().find(|pod| pod.hash == hash) {
            *pod = killed;
        } else if self.killed.len() < MAX_KILLED_PODS {
            self.killed.push(killed);
        }
    }

    /// Returns in how many Pods there were kills; at least, if they are very many.
    pub(super) fn count(&self) -> usize {
        self.killed.len()
    }

    /// Takes in that a Pod of the workload exists, and what it shows of the container.
    pub(super) fn seen(&mut self, pod: &Pod, hash: u32, container: &str) {
        if let Some(pod) = self.killed.iter_mut().find(|pod| pod.hash == hash) {
            (pod.is_gone, pod.is_listed) = (false, true);
        }
        let Some((list, status)) = pod.statuses().find(|(_, status)| status.name == container) else {
            return;
        };
        let Some(started_at) = status.state.running.and_then(|running| running.started_at) else { return };
        let spec = pod.container(list, container);
        self.instances.retain(|instance| instance.pod != hash);
        if self.instances.len() == MAX_INSTANCES {
            let oldest = self.instances.iter().enumerate().min_by_key(|(_, instance)| instance.started_at);
            if let Some(oldest) = oldest.map(|(place, _)| place) {
                self.instances.swap_remove(oldest);
            }
        }
        let asked = spec.and_then(|spec| spec.resources.limits.bytes);
        self.instances.push(RunningInstance {
            pod: hash,
            started_at,
            is_listed: true,
            limit: status.resources.limits.bytes.or(asked),
            image: spec.and_then(|spec| spec.image.clone()),
        });
    }

    /// Takes in that a Pod is gone, or ended for good.
    pub(super) fn gone(&mut self, hash: u32) {
        self.instances.retain(|instance| instance.pod != hash);
        if let Some(pod) = self.killed.iter_mut().find(|pod| pod.hash == hash) {
            pod.is_gone = true;
        }
    }

    /// Takes in that a list begins.
    pub(super) fn list_begins(&mut self) {
        self.killed.iter_mut().for_each(|pod| pod.is_listed = false);
        self.instances.iter_mut().for_each(|instance| instance.is_listed = false);
    }

    /// Takes in that a list is complete: what it didn't show is gone.
    pub(super) fn list_ends(&mut self) {
        self.killed.iter_mut().for_each(|pod| pod.is_gone |= !pod.is_listed);
        self.instances.retain(|instance| instance.is_listed);
    }

    /// Returns whether every Pod that was killed is gone.
    pub(super) fn are_gone(&self) -> bool {
        self.killed.len() < MAX_KILLED_PODS && self.killed.iter().all(|pod| pod.is_gone)
    }

    /// Returns the newest instance that runs.
    pub(super) fn newest(&self) -> Option<&RunningInstance> {
        self.instances.iter().max_by_key(|instance| instance.started_at)
    }
}
