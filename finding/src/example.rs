//! Made-up findings and resolved incidents for tests: one of each with everything that can be known, one with
//! only what is always known.

use std::collections::BTreeMap;

use crate::{
    Advice, AffectedContainer, AffectedPod, Cause, CauseKind, Change, ContainerKind, EXIT_CODE_OF_SIGKILL,
    Finding, Gone, Incident, KillEvidence, KillId, Killed, ResolvedContainer, ResolvedIncident,
    ResolvedSchema, Restarted, Schema, Workload,
};

impl Finding {
    /// Returns a finding with everything that can be known.
    pub fn full() -> Self {
        let labels = BTreeMap::from([("app".into(), "cart".into())]);
        Self {
            schema: Schema::V1,
            test: false,
            id: KillId::new(&["containerd://a"]),
            cluster: Some("prod".into()),
            detected_at: "2026-03-01T12:00:05.123456Z".parse().ok(),
            namespace: "shop".into(),
            pod: AffectedPod {
                name: "cart-6c9f7-x2x".into(),
                uid: "0b6e2f4e-7a6c-4b63-9d0e-3f1d2c1b0a99".into(),
                node: Some("n1".into()),
                memory_limit_bytes: Some(256 << 20),
                workload: Workload { kind: "Deployment".into(), name: "cart".into() },
                event_uid: "0b6e2f4e-7a6c-4b63-9d0e-3f1d2c1b0a99".into(),
                labels: Some(labels),
                asks_to_be_ignored: false,
            },
            container: AffectedContainer {
                name: "app".into(),
                kind: ContainerKind::Container,
                image: Some("registry.example/cart:1.2".into()),
                memory_limit_bytes: Some(64 << 20),
                memory_request_bytes: Some(32 << 20),
            },
            killed: Killed {
                container_id: Some("containerd://a".into()),
                exit_code: Some(EXIT_CODE_OF_SIGKILL),
                started_at: "2026-03-01T11:56:50Z".parse().ok(),
                finished_at: "2026-03-01T12:00:02Z".parse().ok(),
            },
            restarted: Some(Restarted {
                container_id: Some("containerd://b".into()),
                started_at: "2026-03-01T12:00:03Z".parse().ok(),
                restart_count: Some(3),
            }),
            cause: Some(Cause {
                kind: CauseKind::ContainerLimit,
                text: "it reached its own memory limit of 64 MiB".into(),
            }),
            advice: Some(Advice {
                memory_limit_bytes: Some(128 << 20),
                command: Some(
                    "kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi"
                        .into(),
                ),
                text: "raise the limit to 128 MiB".into(),
            }),
            incident: "2026-03-01T11:20:02Z".parse().ok().map(|since| Incident { kills: 12, since, pods: 3 }),
            message: "The previous instance of the container 'app' (containerd://a) was OOMKilled".into(),
            evidence: KillEvidence {
                limits_are_known: true,
                workload_is_built_in: true,
                ..KillEvidence::default()
            },
        }
    }

    /// Returns the same finding with only what is always known.
    pub fn minimal() -> Self {
        let full = Self::full();
        Self {
            cluster: None,
            detected_at: None,
            pod: AffectedPod { node: None, memory_limit_bytes: None, ..full.pod },
            container: AffectedContainer {
                image: None,
                memory_limit_bytes: None,
                memory_request_bytes: None,
                ..full.container
            },
            killed: Killed { container_id: None, exit_code: None, started_at: None, finished_at: None },
            restarted: None,
            cause: None,
            advice: None,
            incident: None,
            evidence: KillEvidence::default(),
            ..full
        }
    }
}

impl ResolvedIncident {
    /// Returns an incident with everything that can be known.
    pub fn full() -> Self {
        let finding = Finding::full();
        let time = |text: &str| text.parse().unwrap_or_default();
        Self {
            schema: ResolvedSchema::V1,
            id: KillId::new(&["resolved"]),
            cluster: finding.cluster,
            namespace: finding.namespace,
            workload: finding.pod.workload,
            container: ResolvedContainer { name: finding.container.name, kind: finding.container.kind },
            incident: Incident { kills: 12, since: time("2026-03-01T11:20:02Z"), pods: 3 },
            last_kill: time("2026-03-01T12:00:02Z"),
            memory_limit_bytes: Some(Change { from: Some(64 << 20), to: Some(128 << 20) }),
            image: Some(Change {
                from: "registry.example/cart:1.2".into(),
                to: "registry.example/cart:1.3".into(),
            }),
            gone: Some(Gone::Pods),
            message: "The container 'app' of Deployment cart has not been OOMKilled for an hour".into(),
        }
    }

    /// Returns the same incident with only what is always known.
    pub fn minimal() -> Self {
        Self { cluster: None, memory_limit_bytes: None, image: None, gone: None, ..Self::full() }
    }
}
