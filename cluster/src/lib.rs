//! How an API server is found, reached and spoken to.
//!
//! | file | what it answers |
//! |---|---|
//! | [`connect()`] | where to look for the cluster |
//! | `kubeconfig`, `service_account` | where it is, and who asks |
//! | `access` | all that is known of it then |
//! | `credentials`, `plugin` | what a request is authorized by |
//! | `transport`, `proxy` | how a request gets there |
//! | `renewal` | what happens when any of it is replaced meanwhile |
//! | [`send`] | one request and its answer |
//! | [`Refusal`] | what an error of the API server means |
//! | [`may`] | whether the program has a right |
//! | [`protobuf`] | how messages are read that aren't JSON |
//!
//! What is asked for, and why, is not known here.

mod access;
mod authorization;
mod connect;
mod credentials;
mod error;
mod kubeconfig;
mod plugin;
pub mod protobuf;
mod proxy;
mod refusal;
mod renewal;
mod review;
mod service_account;
mod transport;
mod yaml;

use std::{error::Error, time::Duration};

use http::{Request, Response};
use kube::{Client, client::Body};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use untrusted::read_up_to;

pub use access::ClusterSite;
pub use authorization::TokenError;
pub use connect::{connect, connect_to, current_namespace, current_site};
pub use error::{ConnectError, CredentialsError, RequestError};
pub use kubeconfig::{KubeconfigError, KubeconfigFault};
pub use plugin::{PluginError, UselessAnswer};
pub use refusal::Refusal;
pub use review::{AccessQuestion, may};
pub use service_account::{ServiceAccountError, in_pod};
pub use yaml::YamlError;

/// How long an API server may take to begin an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How much is read of an answer that is one small object.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Reads an answer that is one small object.
///
/// # Errors
///
/// It is longer than 64 KiB, breaks off, or is not what is asked for.
///
/// # Cancel safety
///
/// The answer is lost.
pub async fn read_json<T: DeserializeOwned>(
    response: Response<Body>,
) -> Result<T, Box<dyn Error + Send + Sync>> {
    let mut bytes = Vec::new();
    read_up_to(response.into_body(), MAX_ANSWER_BYTES, &mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Returns the rule of a Role that allows a verb, as errors name it; on the object of this name alone if one is
/// given.
pub fn rbac_rule(group: &str, resource: &str, name: Option<&str>, verb: &str) -> String {
    let names = name.map(|name| format!(", resourceNames [{name:?}]")).unwrap_or_default();
    format!("apiGroups [{group:?}], resources [{resource:?}]{names}, verbs [{verb:?}]")
}

/// Sends a request and returns the answer, if it is a success.
///
/// # Errors
///
/// There are no credentials, no answer in 30 seconds, or it is an error.
///
/// # Cancel safety
///
/// The request may have arrived nevertheless.
pub async fn send(client: &Client, request: Request<Vec<u8>>) -> Result<Response<Body>, RequestError> {
    let answer = timeout(ANSWER_TIMEOUT, client.send(request.map(Body::from))).await;
    let answer = answer.map_err(|_| RequestError::Silent(ANSWER_TIMEOUT))?;
    let response = answer.map_err(RequestError::from)?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(RequestError::Refused(Refusal::read(response).await))
    }
}
