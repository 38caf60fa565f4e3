//! Why a request to an API server failed.

use std::{error::Error, fmt, time::Duration};

use http::StatusCode;
use kube::client::AuthError;
use untrusted::{causes, with_causes};

use crate::Refusal;

/// Why a request was not answered as it should have been. Shows one line without a secret.
#[derive(Debug)]
pub enum RequestError {
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
            Self::Silent(_) | Self::Unanswered(_) => None,
            Self::Refused(refusal) => refusal.retry_after,
        }
    }

    /// Returns whether the account lacks a right.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == StatusCode::FORBIDDEN)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(limit) => write!(f, "no answer for {limit:?}"),
            Self::Unanswered(error) => f.write_str(&without_secrets(error.as_ref())),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl Error for RequestError {}

/// Returns what an error of a request says, with everything that caused it. What a credential plugin was
/// called with and what it printed is withheld: tokens stand in it.
pub fn without_secrets(error: &(dyn Error + 'static)) -> String {
    causes(error).find_map(instead_of_a_secret).unwrap_or_else(|| {
        // What kube calls all that a layer below it says.
        with_causes(error).trim_start_matches("ServiceError: ").to_owned()
    })
}

/// Returns what to say of an error whose own text may hold a secret.
fn instead_of_a_secret(error: &(dyn Error + 'static)) -> Option<String> {
    let remedy = "run `kubectl get pods` with the same kubeconfig to see what it says";
    if let Some(kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. }) =
        error.downcast_ref()
    {
        return Some("the configured proxy has a protocol that isn't supported; http is".to_owned());
    }
    match error.downcast_ref()? {
        AuthError::AuthExecRun { out, .. } => {
            Some(format!("the credential plugin of the kubeconfig failed ({}); {remedy}", out.status))
        }
        AuthError::AuthExecParse(_) | AuthError::AuthExec(_) => {
            Some(format!("the answer of the kubeconfig's credential plugin can't be read; {remedy}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn what_a_credential_plugin_says_is_withheld() {
        let out = std::process::Output {
            status: std::process::ExitStatus::from_raw(3 << 8),
            stdout: b"secret".to_vec(),
            stderr: b"secret".to_vec(),
        };
        let failed = AuthError::AuthExecRun { cmd: "TOKEN=secret plugin".into(), out: Box::new(out) };
        for error in [failed, AuthError::AuthExec("secret".into())] {
            let said = without_secrets(&kube::Error::Auth(error));
            assert!(said.contains("credential plugin") && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn each_cause_is_said_once() {
        let error = kube::Error::ReadEvents(std::io::Error::other("refused"));
        assert_eq!(without_secrets(&error).matches("refused").count(), 1);
    }
}
