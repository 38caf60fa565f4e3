//! Asks the API server whether it allows something, which anybody may ask.

use http::Request;
use kube::Client;
use serde::Deserialize;
use serde_json::json;

use crate::{RequestError, read_json, send};

/// The path of `SelfSubjectAccessReview`s.
const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What may be allowed or not: a verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessQuestion {
    /// Such as `list`.
    pub verb: &'static str,
    /// Such as `coordination.k8s.io`; empty is the core group.
    pub group: &'static str,
    /// Such as `pods`.
    pub resource: &'static str,
    /// Of which object; `None` is of all.
    pub name: Option<String>,
    /// Where; `None` is everywhere.
    pub namespace: Option<String>,
}

#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize)]
struct ReviewStatus {
    #[serde(default)]
    allowed: bool,
}

/// Returns whether the program may do this.
///
/// # Errors
///
/// There is no answer, or it is an error or of no use.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn may(client: &Client, question: &AccessQuestion) -> Result<bool, RequestError> {
    let AccessQuestion { verb, group, resource, name, namespace } = question;
    let attributes = json!({
        "verb": verb, "group": group, "resource": resource, "name": name, "namespace": namespace,
    });
    let review = json!({
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": { "resourceAttributes": attributes },
    });
    let request = Request::post(PATH).header("content-type", "application/json");
    let request = request.body(review.to_string().into_bytes()).map_err(unusable)?;
    let Review { status } = read_json(send(client, request).await?).await.map_err(unusable)?;
    Ok(status.allowed)
}

fn unusable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RequestError {
    RequestError::Unanswered(error.into())
}
