//! Why there is no client, and why a request failed.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use http::StatusCode;
use thiserror::Error;
use tls::{HandshakeError, SetupError};
use untrusted::with_causes;

use crate::{
    Refusal, kubeconfig::KubeconfigError, plugin::PluginError, service_account::ServiceAccountError,
};

/// Why there is no client. Shows one line without a secret.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nothing says where the cluster is.
    #[error(
        "no cluster to be found: $KUBECONFIG isn't set, ~/.kube/config doesn't exist, and this is no pod \
         with a service account. Set KUBECONFIG to the path of a kubeconfig"
    )]
    NoCluster,
    /// A context is asked for, and no kubeconfig has any.
    #[error(
        "no kubeconfig to find the context in: $KUBECONFIG isn't set, and ~/.kube/config doesn't exist. Set \
         KUBECONFIG to the path of a kubeconfig"
    )]
    NoKubeconfig,
    /// A kubeconfig can't be used.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The pod's service account can't be used.
    #[error("can't use the service account of this pod: {0}. Is automountServiceAccountToken true?")]
    ServiceAccount(#[from] ServiceAccountError),
    /// No connection can be prepared.
    #[error("can't prepare the connection to the API server at {address}: {error}")]
    Setup {
        /// The API server.
        address: String,
        /// What is wrong.
        error: SetupError,
    },
}

/// Why a request has no credentials, and was not sent.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// The credential plugin gives none.
    #[error(transparent)]
    Plugin(Arc<PluginError>),
    /// The client certificate that it gives can't be used.
    #[error("can't use the client certificate of the credential plugin: {0}")]
    Setup(SetupError),
}

/// Why a request was not answered as it should have been. Shows one line without a secret.
#[derive(Debug)]
pub enum RequestError {
    /// It was not sent.
    Credentials(CredentialsError),
    /// There is no TLS with the API server.
    Handshake(HandshakeError),
    /// There was no answer in this time.
    Silent(Duration),
    /// There was no answer, or it broke off.
    Unanswered(Box<dyn Error + Send + Sync>),
    /// The API server, or a proxy before it, answered with an error.
    Refused(Refusal),
}

impl RequestError {
    /// Returns how long the other side asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// Returns whether the account lacks a right.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == StatusCode::FORBIDDEN)
    }
}

impl From<kube::Error> for RequestError {
    fn from(error: kube::Error) -> Self {
        let error = match error {
            kube::Error::Service(error) => error,
            error => error.into(),
        };
        let error = match error.downcast() {
            Ok(error) => return Self::Credentials(*error),
            Err(error) => error,
        };
        match HandshakeError::find(error.as_ref()) {
            Some(error) => Self::Handshake(error),
            None => Self::Unanswered(error),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(error) => error.fmt(f),
            Self::Handshake(error) if error.is_distrust() => write!(
                f,
                "{error}. Name its authority in the kubeconfig's certificate-authority, or in a pod see that \
                 the service account's ca.crt is the API server's"
            ),
            Self::Handshake(error) => error.fmt(f),
            Self::Silent(limit) => write!(f, "no answer for {limit:?}"),
            Self::Unanswered(error) => f.write_str(&with_causes(error.as_ref())),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl Error for RequestError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let error = kube::Error::ReadEvents(std::io::Error::other("refused"));
        assert_eq!(RequestError::from(error).to_string().matches("refused").count(), 1);
    }

    #[test]
    fn what_is_wrong_with_the_credentials_is_not_blamed_on_the_api_server() {
        let error = CredentialsError::Plugin(Arc::new(PluginError::Hangs { program: "aws".to_owned() }));
        let error = RequestError::from(kube::Error::Service(error.into()));
        assert!(matches!(error, RequestError::Credentials(_)), "{error}");
    }
}
