//! What happened in the cluster, as one stream of [`Observation`]s.
//!
//! | watched | what it answers |
//! |---|---|
//! | Pods | which instances of a container ran and how they ended: the complete witness |
//! | `Started` Events | which container was started just now: the fast witness |
//! | this program's own Events, read once | which kills were reported before |
//!
//! [`observe`] takes them from an API server, [`recording`] from a file; both decode into the
//! same lean types ([`objects`]). Neither knows what an OOM kill is.

mod answer;
mod failure;
mod lines;
pub mod objects;
pub mod observe;
mod pace;
pub mod recording;
mod request;
mod trouble;
mod watch;

use jiff::Timestamp;
use objects::{Pod, Started};

/// One thing that the source saw.
#[derive(Clone, Debug)]
pub enum Observation {
    /// An Event of this program's own stands in the cluster.
    Reported {
        /// The Event's namespace.
        namespace: String,
        /// The Event's name.
        event: String,
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
}

/// What one list and watch of Pods covers: the whole cluster, or one of the included namespaces.
/// Scopes never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope(pub u16);

impl Scope {
    /// All that there is: of a cluster that is watched as one, or of a recording.
    pub const WHOLE: Self = Self(0);
}
