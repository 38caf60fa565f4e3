//! How much memory findings take, so that whoever holds many can bound it.

use std::mem::size_of;

use crate::{Advice, Cause, Finding, Killed, Restarted};

/// What an allocation takes beside what is asked for, about.
const ALLOCATION_BYTES: usize = 16;

impl Finding {
    /// Returns about how many bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let Self {
            id, cluster, namespace, pod, container, killed, restarted, cause, advice, message, ..
        } = self;
        let Killed { container_id, .. } = killed;
        let started = restarted.as_ref().and_then(|Restarted { container_id, .. }| container_id.as_ref());
        let advice = advice.iter().flat_map(|Advice { text, command, .. }| [Some(text), command.as_ref()]);
        let optional = [
            cluster.as_ref(),
            pod.node.as_ref(),
            container.image.as_ref(),
            container_id.as_ref(),
            started,
            cause.as_ref().map(|Cause { text, .. }| text),
            self.evidence.memory_volume.as_ref(),
        ];
        let labels = pod.labels.iter().flatten().flat_map(|(name, value)| [name, value]);
        let texts = [namespace, &pod.name, &pod.uid, &pod.event_uid, &pod.workload.kind, &pod.workload.name];
        let texts = texts.into_iter().chain([&container.name, message]).chain(labels);
        let texts = texts.chain(optional.into_iter().chain(advice).flatten()).map(String::as_str);
        let allocated = texts.chain([id.as_str()]).map(|text| text.len() + ALLOCATION_BYTES);
        size_of::<Self>() + allocated.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_counts() {
        let full = Finding::full();
        let json = serde_json::to_string(&full).unwrap();
        assert!(full.memory_bytes() > Finding::minimal().memory_bytes());
        let texts = full.memory_bytes() - size_of::<Finding>();
        assert!((json.len() / 2..json.len() * 2).contains(&texts), "{texts} for {} of JSON", json.len());
    }
}
