//! How an API server is found, reached and spoken to.
//!
//! | file | what it answers |
//! |---|---|
//! | [`connect()`] | where the cluster is, and who asks: kubeconfig, or the service account of a Pod |
//! | `client` | how requests get there: TLS, proxy, buffers |
//! | `renewal` | what happens when credentials or certificates are replaced meanwhile |
//! | [`send`] | one request and its answer |
//! | [`Refusal`] | what an error of the API server means |
//!
//! What is asked for, and why, is not known here.

mod client;
mod connect;
mod error;
mod refusal;
mod renewal;

use std::time::Duration;

use http::{Request, Response};
use kube::{Client, client::Body};
use tokio::time::timeout;

pub use connect::{ConnectError, connect, current_namespace, in_pod};
pub use error::{RequestError, without_secrets};
pub use refusal::Refusal;

/// How long an API server may take to begin an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a request and returns the answer, if it is a success.
///
/// # Errors
///
/// There is no answer in 30 seconds, or it is an error.
///
/// # Cancel safety
///
/// The request may have arrived nevertheless.
pub async fn send(client: &Client, request: Request<Vec<u8>>) -> Result<Response<Body>, RequestError> {
    let answer = timeout(ANSWER_TIMEOUT, client.send(request.map(Body::from))).await;
    let answer = answer.map_err(|_| RequestError::Silent(ANSWER_TIMEOUT))?;
    let response = answer.map_err(|error| RequestError::Unanswered(error.into()))?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(RequestError::Refused(Refusal::read(response).await))
    }
}
