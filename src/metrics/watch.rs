//! What came of the watches? Counters for each watched resource.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use super::Registrar;

/// A resource that is watched at the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchedResource {
    /// Pods.
    Pods,
    /// `Started` Events.
    Events,
    /// The program's own Events, which are read once.
    OwnEvents,
    /// Events about nodes that ran out of memory.
    NodeEvents,
}

/// The counters of one watched resource. Clones count together.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    objects: Counter,
    restarts: Counter,
    errors: Counter,
    undecodable: Counter,
    relisted: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

/// The counters of all watched resources.
#[derive(Default)]
pub(super) struct WatchFamilies {
    objects: Family<ResourceLabels, Counter>,
    restarts: Family<ResourceLabels, Counter>,
    errors: Family<ResourceLabels, Counter>,
    undecodable: Family<ResourceLabels, Counter>,
    relisted: Family<ResourceLabels, Counter>,
}

impl WatchedResource {
    pub(super) const ALL: [Self; 4] = [Self::Pods, Self::Events, Self::OwnEvents, Self::NodeEvents];

    /// Returns how the label `resource` spells it.
    fn label(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Events => "events",
            Self::OwnEvents => "own_events",
            Self::NodeEvents => "node_events",
        }
    }
}

impl WatchMetrics {
    /// Counts an object that a list or watch brought.
    pub fn object(&self) {
        self.objects.inc();
    }

    /// Counts an object that a list brought which was made though all was well.
    pub fn relisted(&self) {
        self.relisted.inc();
    }

    /// Counts a watch that ended.
    pub fn ended(&self) {
        self.restarts.inc();
    }

    /// Counts a list or watch that failed.
    pub fn failed(&self) {
        self.errors.inc();
    }

    /// Counts an object that could not be read.
    pub fn undecodable(&self) {
        self.undecodable.inc();
    }
}

impl WatchFamilies {
    pub(super) fn of(&self, resource: WatchedResource) -> WatchMetrics {
        let labels = ResourceLabels { resource: resource.label() };
        WatchMetrics {
            objects: self.objects.get_or_create_owned(&labels),
            restarts: self.restarts.get_or_create_owned(&labels),
            errors: self.errors.get_or_create_owned(&labels),
            undecodable: self.undecodable.get_or_create_owned(&labels),
            relisted: self.relisted.get_or_create_owned(&labels),
        }
    }

    pub(super) fn register(&self, add: &mut Registrar<'_>) {
        add.metric(
            "watch_events",
            "Objects read, by resource: Pods from lists and watches, Started Events from watches (events), the \
             program's own Events at the start (own_events), warnings about nodes (node_events). It doesn't change while no Pod changes and no \
             container starts",
            &self.objects,
        );
        add.metric(
            "watch_restarts",
            "Watches that ended, well or not, by resource; each is followed by another. One or two a minute are \
             usual, for each namespace in namespaces.include if there are any",
            &self.restarts,
        );
        add.metric(
            "watch_errors",
            "Lists and watches that failed, by resource. If it grows steadily, kills are found late: see the log",
            &self.errors,
        );
        add.metric(
            "undecodable",
            "Objects that could not be read and were skipped, by resource. \
             Kills in them are not found: please report it",
            &self.undecodable,
        );
        add.metric(
            "relisted",
            "Objects read again, by resource: Pods are listed anew every three to five hours though all is well, \
             in case a watch has missed a change",
            &self.relisted,
        );
    }
}
