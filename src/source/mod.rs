//! What happened in the cluster, as one stream of [`Observation`]s.
//!
//! | watched | what it answers |
//! |---|---|
//! | Pods | which instances of a container ran and how they ended: the complete witness |
//! | `Started` Events | which container was started just now: the fast witness |
//! | this program's own Events, read once | which kills were reported before, and what is owed of them |
//! | Events `SystemOOM` and `OOMKilling` | which node ran out of memory |
//!
//! [`observe`] takes them from an API server, [`list_pods`] from a single list of Pods, [`recording`] from a
//! file; all decode into the same lean types ([`objects`]). None of them knows what an OOM kill is.
//!
//! | file | what it answers |
//! |---|---|
//! | `observe`, `pod_list` | which resources are watched, and what their objects say |
//! | `read_back`, `own_events` | which kills were reported before, and what is owed of them |
//! | `watch` | what follows from what became of a list or a watch |
//! | `backoff`, `setbacks` | how fast to ask; what has gone wrong lately |
//! | `sync_moment`, `server_clock` | when all was last in sync; what time it is by the API server |
//! | `request`, `failure` | one request, and why it failed |
//! | `answer`, `messages`, `items` | its answer, cut into the messages of a watch or the objects of a list as they come |
//! | `decode`, `intake` | what they say |
//! | `report`, `trouble` | what the outside is told of a watch, and of what all watches share |

mod answer;
mod backoff;
mod decode;
mod failure;
mod intake;
mod items;
mod mend;
mod messages;
pub mod objects;
pub mod observe;
mod outlet;
mod own_events;
mod pod_list;
mod read_back;
pub mod recording;
mod report;
mod request;
mod server_clock;
mod setbacks;
mod sync_moment;
mod trouble;
mod watch;

pub use failure::RequestFailure;
use finding::Finding;
use jiff::Timestamp;
use objects::{NodeOom, Pod, Started};
pub use outlet::Observations;
pub use pod_list::list_pods;

/// One thing that the source saw.
#[derive(Clone, Debug)]
pub enum Observation {
    /// An Event of this program's own stands in the cluster.
    Reported {
        /// The Event's namespace.
        namespace: String,
        /// The Event's name.
        event: String,
        /// What its annotations say; `None` if it has none, or they are not of this program's making. The same Event
        /// may be seen several times.
        record: Option<Box<EventRecord>>,
    },
    /// The program's own Events of a scope have been read, as [`Observations::read_back_again`] asked for.
    ReadBack {
        /// Where they are.
        scope: Scope,
        /// The number of the newest reading that was asked for when it began.
        reading: u64,
    },
    /// A list of the Pods of a scope begins.
    ListBegins {
        /// What is listed.
        scope: Scope,
        /// When the scope was last known as it is; at the start, now.
        in_sync: Timestamp,
    },
    /// A Pod in that list.
    Listed(Scope, Box<Pod>),
    /// The list is complete: what it didn't show is gone.
    ListEnds(Scope),
    /// A Pod was added or changed.
    Changed(Scope, Box<Pod>),
    /// A Pod was deleted; this is the last that was seen of it.
    Deleted(Scope, Box<Pod>),
    /// A container was started.
    Started(Started),
    /// A node ran out of memory.
    NodeRanOut(NodeOom),
}

/// What an Event of this program's own says in its annotations. Whoever may write Events in its namespace may have
/// written it; it is of that namespace and that Event's kill in any case.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// The finding, without its Pod's labels.
    pub finding: Finding,
    /// The names of the sinks that it is owed to.
    pub owed: Vec<String>,
    /// When the Event was last written, as far as it tells.
    pub written: Option<Timestamp>,
}

/// Returns what is listed and watched apart: each of these namespaces, or without any the whole cluster (`None`).
pub fn scopes(namespaces: &[String]) -> Vec<Option<String>> {
    match namespaces {
        [] => vec![None],
        names => names.iter().cloned().map(Some).collect(),
    }
}

/// What one list and watch of Pods covers: the whole cluster, or one of the included namespaces.
/// Scopes never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope(pub u16);

impl Scope {
    /// All that there is: of a cluster that is watched as one, or of a recording.
    pub const WHOLE: Self = Self(0);
}
