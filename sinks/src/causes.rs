//! What an error says, with everything that caused it, and without the secrets in it.

use std::{error::Error, iter};

use kube::client::AuthError;

/// The error's text and that of each of its causes, separated by colons.
///
/// Clients wrap what went wrong in several layers, and the outermost says only "error sending request".
/// What a credential plugin was called with and what it printed is withheld: tokens stand in it.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    if let Some(said) = chain(error).find_map(without_secrets) {
        return said;
    }
    chain(error).fold(String::new(), |text, error| {
        let said = error.to_string();
        // What kube calls all that a layer below it says.
        let said = said.trim_start_matches("ServiceError: ").to_owned();
        // Some layers repeat the text of their cause.
        match text.as_str() {
            "" => said,
            text if text.contains(&said) => text.to_owned(),
            text => format!("{text}: {said}"),
        }
    })
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// What to say of an error whose own text may hold a secret.
fn without_secrets(error: &(dyn Error + 'static)) -> Option<String> {
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
            let said = with_causes(&kube::Error::Auth(error));
            assert!(said.contains("credential plugin") && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn each_cause_is_said_once() {
        let inner = std::io::Error::other("refused");
        let outer = kube::Error::ReadEvents(inner);
        assert_eq!(with_causes(&outer).matches("refused").count(), 1);
    }
}
