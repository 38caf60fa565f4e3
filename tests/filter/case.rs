//! A filter, what a test shows it, and what it finds.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use ::cluster::protobuf::WireMessage;
use finding::{AdvicePolicy, Finding};
use jiff::Timestamp;
use kubernetes_oom_event_generator::{
    config::Namespaces,
    filter::{Conclusion, Filter, FilterSettings},
    source::{
        Observation, Scope,
        objects::{Event, Pod},
    },
};
use serde_json::{Value, json};
use support::{
    pod_dsl::{PodDsl, id},
    protobuf,
};

/// A filter, what it has seen of a Pod so far, and what it found. What the notation for the Pod knows, it
/// knows too.
pub struct Case {
    pub filter: Filter,
    settings: FilterSettings,
    pub found: Vec<Finding>,
    pub unobserved: u32,
    shown: PodDsl,
}

impl Deref for Case {
    type Target = PodDsl;

    fn deref(&self) -> &PodDsl {
        &self.shown
    }
}

impl DerefMut for Case {
    fn deref_mut(&mut self) -> &mut PodDsl {
        &mut self.shown
    }
}

impl Case {
    pub fn new() -> Self {
        Self::with(settings())
    }

    pub fn reporting_unrestarted() -> Self {
        Self::with(FilterSettings { report_unrestarted: true, ..settings() })
    }

    pub fn with(settings: FilterSettings) -> Self {
        Self {
            filter: Filter::new(settings.clone()),
            settings,
            found: Vec::new(),
            unobserved: 0,
            shown: PodDsl::at("2026-11-22T12:00:00Z".parse().unwrap()),
        }
    }

    /// The program is started anew; the cluster goes on.
    pub fn restart(&mut self) {
        self.filter = Filter::new(self.settings.clone());
    }

    /// A watch shows the Pod so.
    pub fn sees(&mut self, containers: &[&str]) -> &mut Self {
        let pod = self.status(containers);
        self.observe(Observation::Changed(Scope::WHOLE, pod))
    }

    /// The Pod is deleted; this is how it was last.
    pub fn deleted(&mut self, containers: &[&str]) -> &mut Self {
        let pod = self.status(containers);
        self.observe(Observation::Deleted(Scope::WHOLE, pod))
    }

    /// A list shows the Pod so, and no other; without containers it shows none at all.
    pub fn lists(&mut self, in_sync: Timestamp, containers: &[&str]) -> &mut Self {
        self.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync });
        if !containers.is_empty() {
            let pod = self.status(containers);
            self.observe(Observation::Listed(Scope::WHOLE, pod));
        }
        self.observe(Observation::ListEnds(Scope::WHOLE))
    }

    /// A `Started` Event of now.
    pub fn started(&mut self, container: &str) -> &mut Self {
        let at = self.tick();
        self.started_at(container, at, "Started container")
    }

    pub fn started_at(&mut self, container: &str, at: Timestamp, message: &str) -> &mut Self {
        self.event(container, at, json!({"message": message}))
    }

    /// A `Started` Event about the next instance after what was last shown of its container, with these fields beside those that all have.
    pub fn event(&mut self, container: &str, at: Timestamp, fields: Value) -> &mut Self {
        let event = self.started_event(container, at, fields);
        self.event_is(event)
    }

    /// This Event.
    pub fn event_is(&mut self, event: Value) -> &mut Self {
        match serde_json::from_value::<Event>(event).unwrap().into_started() {
            Some(started) => self.observe(Observation::Started(started)),
            None => self,
        }
    }

    /// The findings so far are those of these instances, in this order.
    #[track_caller]
    pub fn finds(&mut self, instances: &[&str]) -> &mut Self {
        let found: Vec<_> = self
            .found
            .iter()
            .map(|finding| finding.killed.container_id.clone().unwrap_or_default())
            .collect();
        let expected: Vec<_> = instances.iter().map(|instance| id(instance)).collect();
        assert_eq!(found, expected);
        self
    }

    pub fn observe(&mut self, observation: Observation) -> &mut Self {
        let conclusions = self.filter.observe(observation, Some(self.now));
        self.take(conclusions)
    }

    pub fn take(&mut self, conclusions: Vec<Conclusion>) -> &mut Self {
        for conclusion in conclusions {
            match conclusion {
                Conclusion::Finding(finding) => self.found.push(*finding),
                Conclusion::UnobservedEnds { instances, .. } => self.unobserved += instances,
            }
        }
        self
    }

    /// The Pod with these containers, as the source decodes it.
    pub fn status(&mut self, containers: &[&str]) -> Box<Pod> {
        decoded(&self.object(containers))
    }
}

/// Returns the Pod as the source decodes it, which is the same in both encodings.
pub fn decoded(pod: &Value) -> Box<Pod> {
    let of_json: Box<Pod> = serde_json::from_str(&pod.to_string()).unwrap();
    let of_protobuf = Pod::decode(&protobuf::object("Pod", pod)).unwrap();
    assert_eq!(format!("{of_json:?}"), format!("{of_protobuf:?}"), "{pod}");
    of_json
}

/// What a configuration without a word in it tells the filter.
pub fn settings() -> FilterSettings {
    FilterSettings {
        cluster: None,
        namespaces: Namespaces::default(),
        lookback: Duration::from_mins(55),
        report_unrestarted: false,
        advice: Some(AdvicePolicy::default()),
    }
}
