//! Asks the API server whether it allows something, which anybody may ask.

use http::Request;
use kube::Client;
use serde::Deserialize;
use serde_json::json;

use crate::{RequestError, read_json, send};

/// The path of `SelfSubjectAccessReview`s.
const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What may be allowed or not: a verb on a resource of the core group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessQuestion {
    /// Such as `list`.
    pub verb: &'static str,
    /// Such as `pods`.
    pub resource: &'static str,
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
    let AccessQuestion { verb, resource, namespace } = question;
    let attributes = json!({ "verb": verb, "resource": resource, "namespace": namespace });
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
