//! Tells containers and Pods apart by hashes of their names: whoever chooses names can't choose the hashes, and
//! no name is copied.

use std::{
    hash::{BuildHasher, RandomState},
    ops::RangeInclusive,
};

use finding::{Finding, Workload};

/// A container of a workload. Keys are sorted by namespace, then by workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerKey {
    /// The namespace.
    pub namespace: u64,
    /// The workload and its namespace.
    pub workload: u64,
    /// The container, its workload and its namespace.
    pub container: u64,
}

impl ContainerKey {
    /// Returns the keys of all containers of a workload.
    pub fn of_workload(namespace: u64, workload: u64) -> RangeInclusive<Self> {
        let key = |container| Self { namespace, workload, container };
        key(u64::MIN)..=key(u64::MAX)
    }
}

/// Makes keys. Those of two makers can't be compared.
#[derive(Debug, Default)]
pub struct KeyMaker(RandomState);

impl KeyMaker {
    /// Returns the key of the container that a finding is about.
    pub fn container(&self, finding: &Finding) -> ContainerKey {
        let (namespace, workload) = (&finding.namespace, &finding.pod.workload);
        ContainerKey {
            namespace: self.namespace(namespace),
            workload: self.workload(namespace, workload),
            container: self.0.hash_one((namespace, workload, &finding.container.name)),
        }
    }

    /// Returns [`ContainerKey::namespace`].
    pub fn namespace(&self, name: &str) -> u64 {
        self.0.hash_one(name)
    }

    /// Returns [`ContainerKey::workload`].
    pub fn workload(&self, namespace: &str, workload: &Workload) -> u64 {
        self.0.hash_one((namespace, workload))
    }

    /// Returns a hash that tells a Pod from all others.
    pub fn pod(&self, uid: &str) -> u64 {
        self.0.hash_one(uid)
    }

    /// Returns a smaller hash that tells a Pod from the few others of an incident.
    #[expect(clippy::cast_possible_truncation, reason = "half a hash is one")]
    pub fn pod_of_few(&self, uid: &str) -> u32 {
        self.pod(uid) as u32
    }
}
