//! Posts payloads to an incoming webhook and interprets its answers.
//!
//! The URL is the secret: no error, log line or `Debug` of this module shows it.

use std::{error::Error, net::IpAddr, time::Duration};

use reqwest::{Client, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tls::{HandshakeError, Trust};
use untrusted::{ReadError, read_up_to, retry_after, with_causes};

use crate::{AttemptOutcome, SinkBuildError};

/// The longest answer that is read: Slack answers with one word.
const MAX_WORD_BYTES: usize = 64;

/// Slack's answers to a message that it can't read.
pub(super) const UNREADABLE_ANSWERS: [&str; 5] =
    ["invalid_payload", "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "no_text"];

/// What became of a post.
pub(super) enum WebhookAnswer {
    /// The outcome of the findings in it.
    Final(AttemptOutcome),
    /// Slack could not read it. It may read the same message in another form.
    Unreadable {
        /// The answer, and what to do. Carries no secret.
        reason: String,
    },
}

/// The address of a webhook: `https`, or `http` to a loopback address.
#[derive(Clone, Debug)]
pub(super) struct SlackWebhookUrl {
    url: SecretString,
    loopback: bool,
}

impl SlackWebhookUrl {
    /// Parses the address.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, without showing it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL")?;
        let host = url.host_str().unwrap_or_default();
        let loopback = match url.scheme() {
            "https" => false,
            "http" if is_loopback(host) => true,
            "http" => return Err("would send the findings and the secret URL unencrypted"),
            _ => return Err("is not an https URL"),
        };
        Ok(Self { url: String::from(url).into(), loopback })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Posts to one URL.
pub(super) struct SlackWebhook {
    client: Client,
    url: SlackWebhookUrl,
}

impl SlackWebhook {
    /// Prepares to post to a webhook. Trusts the certificate authorities of the system, or of
    /// `$SSL_CERT_FILE` and `$SSL_CERT_DIR`; obeys `$HTTPS_PROXY` and `$NO_PROXY`.
    ///
    /// # Errors
    ///
    /// There are no certificate authorities to trust.
    pub(super) fn new(url: SlackWebhookUrl, timeout: Duration) -> Result<Self, SinkBuildError> {
        let mut client = Client::builder()
            .user_agent(concat!("kubernetes-oom-event-generator/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(timeout);
        if url.loopback {
            // A proxy can't reach this machine's loopback address.
            client = client.no_proxy();
        }
        let failed = |source| SinkBuildError::Failed {
            tried: "preparing HTTPS for Slack",
            source,
            remedy: "Mount the certificate authorities and name their file in $SSL_CERT_FILE",
        };
        let tls = tls::client_config(&Trust::System, None).map_err(|error| failed(error.into()))?;
        let client = client.tls_backend_preconfigured(tls).build().map_err(|error| failed(error.into()))?;
        Ok(Self { client, url })
    }

    /// Posts the payload.
    ///
    /// # Cancel safety
    ///
    /// The payload may still arrive.
    pub(super) async fn post(&self, payload: &Value) -> WebhookAnswer {
        match self.client.post(self.url.url.expose_secret()).json(payload).send().await {
            Ok(response) => judge(response).await,
            Err(error) => {
                let error = error.without_url();
                let remedy = if error.is_connect() || error.is_timeout() {
                    ". Check that Slack can be reached from here; if that needs a proxy, set $HTTPS_PROXY"
                } else {
                    ""
                };
                unanswered(&error, remedy)
            }
        }
    }
}

async fn judge(response: Response) -> WebhookAnswer {
    let status = response.status();
    let after = retry_after(response.headers());
    let answer = match answer_word(response).await {
        Ok(answer) => answer,
        // A success means something only with its word. Any other status says enough without one.
        Err(error) if status.is_success() => return unanswered(&error, ""),
        Err(_) => None,
    };
    let word = answer.as_deref().unwrap_or("a body that is not Slack's");
    let reason = |remedy| format!("posting to Slack: {status}, {word}{remedy}");
    let is_transient =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    WebhookAnswer::Final(match status {
        StatusCode::OK if word == "ok" => AttemptOutcome::Delivered,
        _ if is_transient || status.is_server_error() => AttemptOutcome::Retry { reason: reason(""), after },
        _ if status.is_redirection() => AttemptOutcome::Refused {
            reason: reason(". Redirects are not followed: give the URL that Slack shows for the webhook"),
        },
        _ if UNREADABLE_ANSWERS.contains(&word) => {
            return WebhookAnswer::Unreadable { reason: reason(remedy(word)) };
        }
        // Also a 200 with another word: something took the message, and would take it again at each retry.
        _ => AttemptOutcome::Refused { reason: reason(remedy(word)) },
    })
}

fn unanswered(error: &(dyn Error + 'static), remedy: &str) -> WebhookAnswer {
    let said = match HandshakeError::find(error) {
        Some(error) if error.is_distrust() => {
            format!("{error}. Name the file of the certificate authorities to trust in $SSL_CERT_FILE")
        }
        Some(error) => error.to_string(),
        None => format!("{}{remedy}", with_causes(error)),
    };
    WebhookAnswer::Final(AttemptOutcome::Retry { reason: format!("posting to Slack: {said}"), after: None })
}

/// Returns the body if it is one word, as Slack's answers are. Any other body (a proxy's error page) is
/// not shown: it may contain the URL.
async fn answer_word(response: Response) -> Result<Option<String>, ReadError> {
    let mut body = Vec::new();
    match read_up_to(reqwest::Body::from(response), MAX_WORD_BYTES, &mut body).await {
        Ok(()) => {}
        Err(ReadError::TooLong { .. }) => return Ok(None),
        Err(error) => return Err(error),
    }
    let word = String::from_utf8(body).unwrap_or_default();
    let is_word = word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    Ok(Some(word).filter(|word| is_word && !word.is_empty()))
}

/// Returns what a person can do about an answer (Slack: "Handling errors" of incoming webhooks).
fn remedy(answer: &str) -> &'static str {
    match answer {
        "no_service" | "no_service_id" | "no_active_hooks" | "invalid_token" | "no_team" => {
            ". The webhook is deleted, switched off or mistyped: create a new one and configure its URL"
        }
        "team_disabled" => ". The Slack workspace is switched off: use a webhook of another one",
        "channel_is_archived" => ". Restore the channel, or create a webhook for another one",
        "channel_not_found" => ". The webhook's channel is gone: create a webhook for another one",
        "action_prohibited" | "posting_to_general_channel_denied" => {
            ". An administrator of the Slack workspace forbids posting there: ask them, or use another channel"
        }
        "user_not_found" => ". The webhook's user is gone: create a new webhook",
        word if UNREADABLE_ANSWERS.contains(&word) => {
            ". Slack could not read the message: please report this as a bug of this program"
        }
        "ok" => "",
        _ => ". Check the URL, and whether a proxy answered instead of Slack",
    }
}
