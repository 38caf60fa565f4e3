//! Lists Pods once, with the right to `list` them and nothing else.

use std::pin::pin;

use http::StatusCode;
use kube::Client;

use super::{
    Observation, Scope,
    failure::{FailureKind, RequestFailure},
    intake::Watched,
    observe::{Pods, watch},
    outlet::Outlet,
    request::{Endpoint, ListCursor, WatchedServer},
    watch::ResourceWatch,
};
use crate::{health::Readiness, metrics::Metrics};

/// How many requests in a row may fail before the list does.
const MAX_FAILURES: u32 = 4;

/// Lists the Pods of a namespace, without one those of the whole cluster, and gives `take` what each page
/// shows. A list whose version expires begins anew, with another [`Observation::ListBegins`].
///
/// # Errors
///
/// A request fails in a way that no repetition mends, or four in a row do.
///
/// # Cancel safety
///
/// Dropping it ends the list.
pub async fn list_pods(
    client: &Client,
    namespace: Option<&str>,
    mut take: impl FnMut(Observation),
) -> Result<(), RequestFailure> {
    let endpoint = Endpoint {
        server: WatchedServer::new(client),
        name: "pods",
        resource: "pods",
        namespace: namespace.map(str::to_owned),
        selector: None,
    };
    let (outlet, mut observations) = Outlet::new();
    let pods = watch(Pods::of(Scope::WHOLE), endpoint, &outlet, &Metrics::new(), &Readiness::new());
    let mut listing = pin!(list(pods));
    loop {
        tokio::select! {
            biased;
            Some(observation) = observations.next_listed() => take(observation),
            // It ends once all that it showed is taken.
            ended = &mut listing => return ended,
        }
    }
}

async fn list(mut pods: ResourceWatch<Pods>) -> Result<(), RequestFailure> {
    let mut cursor = ListCursor::new(Pods::LIST, Pods::PAGE_OBJECTS);
    let (mut failures, mut came) = (0, false);
    loop {
        match pods.page(&mut cursor).await {
            Ok(None) => (failures, came) = (0, true),
            Ok(Some(_)) => return Ok(()),
            Err(failure) if failures + 1 == MAX_FAILURES || !may_pass(failure.kind(), came) => {
                return Err(failure);
            }
            Err(failure) => {
                failures += 1;
                pods.page_failed(&mut cursor, &failure);
            }
        }
    }
}

/// Returns whether a failure may not come again. `came` says whether any page came before it: an API server
/// that never answered is probably the wrong one, which its caller should hear of at once.
fn may_pass(kind: FailureKind, came: bool) -> bool {
    match kind {
        FailureKind::Expired => true,
        FailureKind::Refused(code) => code == StatusCode::TOO_MANY_REQUESTS || code.is_server_error(),
        FailureKind::Unreachable | FailureKind::Silent | FailureKind::Unusable => came,
        FailureKind::NotSent | FailureKind::WentBack => false,
    }
}
