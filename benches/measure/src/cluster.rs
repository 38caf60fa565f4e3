//! The synthetic cluster: what stands in it now, and how it changes. Comes out: pages of lists, and
//! messages of watches, in JSON or Protobuf.
//!
//! A hundredth of the changes replaces a Pod, as a deployment does; in every tenth Pod the container
//! fails now and then, for other reasons than memory. Kills are kept to Pods of their own, so that one
//! that is found can be told by its Pod's name.

use serde_json::json;
use support::protobuf;

use crate::objects::{Container, Encoding, Moment, Place, Sight, SpelledPod, Spelling};

/// The version of the first Pod. All versions have ten digits.
const FIRST_VERSION: u64 = 1_000_000_000;
/// So many Pods are there to be killed, or half of them.
const TARGETS: usize = 1000;

/// The cluster, as it is now.
pub struct SyntheticCluster {
    spelling: Spelling,
    pods: Vec<PodPlace>,
    events: usize,
    version: u64,
    changes: u64,
    kills: usize,
}

/// A place that a Pod is in, until another replaces it.
#[derive(Clone, Copy, Default)]
struct PodPlace {
    number: u64,
    restarts: u32,
}

/// A page of a list.
pub struct Page {
    pub limit: usize,
    /// How many objects came before.
    pub begin: usize,
}

impl SyntheticCluster {
    pub fn new(pods: usize, events: usize) -> Self {
        let pods = (0..).take(pods).map(|number| PodPlace { number, restarts: 0 }).collect();
        let spelling = Spelling::new(Encoding::default());
        Self { spelling, pods, events, version: FIRST_VERSION + 1_000_000_000, changes: 0, kills: 0 }
    }

    /// Spells in this encoding from now on.
    pub fn speak(&mut self, encoding: Encoding) {
        if self.spelling.encoding != encoding {
            self.spelling = Spelling::new(encoding);
        }
    }

    /// What it spells in.
    pub fn encoding(&self) -> Encoding {
        self.spelling.encoding
    }

    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    pub fn events(&self) -> usize {
        self.events
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// Adds so many of the listed Pods, from that one on, with commas between them.
    pub fn listed_pods(&mut self, out: &mut Vec<u8>, page: &Page) {
        let moment = Moment::now();
        for (place, at) in self.pods.iter().skip(page.begin).take(page.limit).zip(page.begin..) {
            if at > page.begin && self.spelling.encoding == Encoding::Json {
                out.push(b',');
            }
            let container = Container { restarts: place.restarts, sight: Sight::Running };
            let pod = SpelledPod { number: place.number, container, version: FIRST_VERSION + place.number };
            self.spelling.pod(out, &pod, &moment, Place::Listed);
        }
    }

    /// As above, of the Events: a start of each Pod.
    pub fn listed_events(&mut self, out: &mut Vec<u8>, page: &Page) {
        let moment = Moment::now();
        for (number, at) in (0..).zip(page.begin..self.events.min(page.begin + page.limit)) {
            if number > 0 && self.spelling.encoding == Encoding::Json {
                out.push(b',');
            }
            let number = page.begin as u64 + number;
            let pod = SpelledPod { number, container: Container::default(), version: FIRST_VERSION + number };
            debug_assert!(at < self.events);
            self.spelling.started(out, &pod, &moment, Place::Listed);
        }
    }

    /// Adds the Pod of that name, if there is one.
    pub fn pod(&mut self, out: &mut Vec<u8>, name: &str) -> Option<()> {
        let number = u64::from_str_radix(name.rsplit('-').next()?, 16).ok()?;
        let place = self.pods.iter().find(|place| place.number == number)?;
        let container = Container { restarts: place.restarts, sight: Sight::Running };
        let pod = SpelledPod { number, container, version: self.version };
        self.spelling.pod(out, &pod, &Moment::now(), Place::Alone);
        Some(())
    }

    /// Adds the line that tells of an ordinary change of a Pod, or the two that replace one. The answer
    /// is how many.
    pub fn change(&mut self, out: &mut Vec<u8>, moment: &Moment) -> u64 {
        self.changes += 1;
        let others = self.pods.len() - self.targets();
        // Knuth's multiplier jumps about, and comes by everywhere.
        let jump = usize::try_from(self.changes.wrapping_mul(2_654_435_761) >> 7).unwrap_or_default();
        let at = self.targets() + jump % others;
        if self.changes.is_multiple_of(100) {
            self.line(out, "DELETED", at, Sight::Running, moment);
            self.pods[at] = PodPlace { number: self.pods[at].number + self.pods.len() as u64, restarts: 0 };
            self.line(out, "ADDED", at, Sight::Running, moment);
            return 2;
        }
        if at.is_multiple_of(10) {
            self.pods[at].restarts += 1;
        }
        self.line(out, "MODIFIED", at, Sight::Running, moment);
        1
    }

    /// Adds the line that tells of the start of some container, and means nothing.
    pub fn start(&mut self, out: &mut Vec<u8>, moment: &Moment) -> u64 {
        self.changes += 1;
        let jump = usize::try_from(self.changes.wrapping_mul(2_654_435_761) >> 7).unwrap_or_default();
        let at = self.targets() + jump % (self.pods.len() - self.targets());
        self.started(out, at, moment);
        1
    }

    /// The place of the Pod to be killed next.
    pub fn target(&mut self) -> usize {
        self.kills += 1;
        (self.kills - 1) % self.targets()
    }

    pub fn name(&self, at: usize) -> String {
        crate::objects::name(self.pods[at].number)
    }

    /// Adds the line that shows a kill.
    pub fn killed(&mut self, out: &mut Vec<u8>, at: usize, sight: Sight, moment: &Moment) {
        self.line(out, "MODIFIED", at, sight, moment);
    }

    /// Adds the line that shows the next instance running.
    pub fn restarted(&mut self, out: &mut Vec<u8>, at: usize, moment: &Moment) {
        self.pods[at].restarts += 1;
        self.line(out, "MODIFIED", at, Sight::Restarted, moment);
    }

    /// Adds the line of the Event that tells of the start of that Pod's container.
    pub fn started(&mut self, out: &mut Vec<u8>, at: usize, moment: &Moment) {
        let pod = self.seen(at, Sight::Running);
        self.spelling.started(out, &pod, moment, Place::Watched("ADDED"));
    }

    /// A line that tells how far a watch has come.
    pub fn bookmark(&self) -> Vec<u8> {
        let metadata = json!({"resourceVersion": self.version.to_string(), "creationTimestamp": null});
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {}, "status": {}});
        let bookmark = json!({"type": "BOOKMARK", "object": pod});
        match self.encoding() {
            Encoding::Json => format!("{bookmark}\n").into_bytes(),
            Encoding::Protobuf => protobuf::frame("Pod", &bookmark).unwrap_or_default(),
        }
    }

    fn targets(&self) -> usize {
        TARGETS.min(self.pods.len() / 2)
    }

    fn line(&mut self, out: &mut Vec<u8>, word: &'static str, at: usize, sight: Sight, moment: &Moment) {
        let pod = self.seen(at, sight);
        self.spelling.pod(out, &pod, moment, Place::Watched(word));
    }

    fn seen(&mut self, at: usize, sight: Sight) -> SpelledPod {
        self.version += 1;
        let PodPlace { number, restarts } = self.pods[at];
        SpelledPod { number, container: Container { restarts, sight }, version: self.version }
    }
}
