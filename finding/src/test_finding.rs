//! The finding that a sink gets to test it. It is marked as a test and is about this program itself.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    AffectedContainer, AffectedPod, ContainerKind, EXIT_CODE_OF_SIGKILL, Finding, KillEvidence, KillId,
    Killed, Schema, Workload,
};

/// Where a test finding is said to come from.
#[derive(Clone, Debug)]
pub struct TestFinding {
    /// The cluster's name, as configured.
    pub cluster: Option<String>,
    /// The namespace that the program runs in, or kubectl's current one.
    pub namespace: String,
    /// The name of the Pod that the program runs in, if it runs in one.
    pub pod: Option<String>,
    /// Now.
    pub sent_at: Timestamp,
}

impl TestFinding {
    /// What the finding says in one sentence.
    pub const MESSAGE: &str = "This is a test of kubernetes-oom-event-generator: nothing was killed";

    /// Returns the identity, which differs from test to test.
    pub fn id(&self) -> KillId {
        let pod = self.pod.as_deref().unwrap_or_default();
        KillId::new(&["test", &self.namespace, pod, &self.sent_at.to_string()])
    }

    /// Returns a finding with [`Finding::test`] set. What it says of a kill is made up.
    pub fn finding(&self) -> Finding {
        let name = self.pod.as_deref().unwrap_or("oom-event-generator-test");
        Finding {
            schema: Schema::V1,
            test: true,
            id: self.id(),
            cluster: self.cluster.clone(),
            detected_at: Some(self.sent_at),
            namespace: self.namespace.clone(),
            pod: AffectedPod {
                name: name.to_owned(),
                uid: String::new(),
                node: None,
                memory_limit_bytes: None,
                workload: Workload { kind: "Pod".to_owned(), name: name.to_owned() },
                event_uid: String::new(),
                labels: Some(BTreeMap::new()),
                asks_to_be_ignored: false,
            },
            container: AffectedContainer {
                name: "test".to_owned(),
                kind: ContainerKind::Container,
                image: None,
                memory_limit_bytes: None,
                memory_request_bytes: None,
            },
            killed: Killed {
                container_id: None,
                exit_code: Some(EXIT_CODE_OF_SIGKILL),
                started_at: None,
                finished_at: Some(self.sent_at),
            },
            restarted: None,
            cause: None,
            advice: None,
            incident: None,
            message: Self::MESSAGE.to_owned(),
            evidence: KillEvidence::default(),
        }
    }
}
