//! What does a sink get when somebody asks whether it works? A finding that is marked as a test, about
//! this program itself.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    Container, ContainerKind, EXIT_CODE_OF_SIGKILL, Finding, KillId, Killed, Outcome, Pod, Schema, Workload,
};

/// Where a test finding is said to come from.
#[derive(Clone, Debug)]
pub struct Test {
    /// The cluster's name, as configured.
    pub cluster: Option<String>,
    /// The namespace that the program runs in, or kubectl's current one.
    pub namespace: String,
    /// The name of the Pod that the program runs in, if it runs in one.
    pub pod: Option<String>,
    /// Now.
    pub sent_at: Timestamp,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tested {
    /// It arrived.
    Delivered {
        /// Where a person finds it.
        place: String,
    },
    /// It did not arrive; a finding would be tried again.
    Retry {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
        /// How long the other side asked to be left alone, if it did.
        after: Option<Duration>,
    },
    /// It did not arrive, nor would a finding ever.
    Refused {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
    },
}

impl Tested {
    /// What an outcome means for a test that, delivered, is found at `place`.
    pub fn new(outcome: Outcome, place: String) -> Self {
        match outcome {
            Outcome::Delivered | Outcome::Duplicate => Self::Delivered { place },
            Outcome::Retry { reason, after } => Self::Retry { reason, after },
            Outcome::Refused { reason } | Outcome::Gone { reason } => Self::Refused { reason },
        }
    }
}

impl Test {
    /// What the test says in one sentence.
    pub const MESSAGE: &str = "This is a test of kubernetes-oom-event-generator: nothing was killed";

    /// The identity: another one for each test.
    pub fn id(&self) -> KillId {
        let pod = self.pod.as_deref().unwrap_or_default();
        KillId::new(&["test", &self.namespace, pod, &self.sent_at.to_string()])
    }

    /// A finding with [`Finding::test`] set; what it says of a kill is made up.
    pub fn finding(&self) -> Finding {
        let name = self.pod.as_deref().unwrap_or("oom-event-generator-test");
        Finding {
            schema: Schema::V1,
            test: true,
            id: self.id(),
            cluster: self.cluster.clone(),
            detected_at: Some(self.sent_at),
            namespace: self.namespace.clone(),
            pod: Pod {
                name: name.to_owned(),
                uid: String::new(),
                node: None,
                memory_limit_bytes: None,
                workload: Workload { kind: "Pod".to_owned(), name: name.to_owned() },
                event_uid: String::new(),
                labels: BTreeMap::new(),
            },
            container: Container {
                name: "test".to_owned(),
                kind: ContainerKind::Container,
                image: None,
                memory_limit_bytes: None,
                memory_request_bytes: None,
            },
            killed: Killed {
                container_id: None,
                exit_code: EXIT_CODE_OF_SIGKILL,
                started_at: None,
                finished_at: Some(self.sent_at),
            },
            restarted: None,
            message: Self::MESSAGE.to_owned(),
        }
    }
}
