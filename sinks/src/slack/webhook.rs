//! Posts payloads to an incoming webhook and interprets its answers.
//!
//! The URL is the secret: no error, log line or `Debug` of this module shows it.

use std::{error::Error, time::Duration};

use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::Value;
use settings::SecretSource;

use crate::{
    AttemptOutcome, SinkBuildError,
    receiver::{ReceiverAnswer, ReceiverClient, ReceiverUrl, StatusMeaning, current, undelivered},
};

/// The longest answer of Slack's, which is one word.
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

/// Parses the URL of an incoming webhook.
///
/// # Errors
///
/// Says what is wrong with it, without showing it.
pub(super) fn parse_url(text: &str) -> Result<ReceiverUrl, &'static str> {
    let url = ReceiverUrl::parse(text)?;
    let path = url.expose().path();
    // Slack takes what is posted there, and shows nothing of it.
    if path.starts_with("/workflows/") || path.starts_with("/triggers/") {
        return Err("is the URL of a Slack workflow, which is no incoming webhook");
    }
    Ok(url)
}

/// Posts to one webhook.
pub(super) struct SlackWebhook {
    client: ReceiverClient,
    url: SecretSource,
}

impl SlackWebhook {
    /// Prepares to post to a webhook.
    ///
    /// # Errors
    ///
    /// There are no certificate authorities to trust.
    pub(super) fn new(url: SecretSource, timeout: Duration) -> Result<Self, SinkBuildError> {
        Ok(Self { client: ReceiverClient::new("Slack", timeout)?, url })
    }

    /// Posts the payload.
    ///
    /// # Cancel safety
    ///
    /// The payload may still arrive.
    pub(super) async fn post(&self, payload: &Value) -> WebhookAnswer {
        let retry = |reason| WebhookAnswer::Final(AttemptOutcome::Retry { reason, after: None });
        let url = match self.url().await {
            Ok(url) => url,
            Err(problem) => return retry(self.client.reason(&format!("webhook_url_file {problem}"))),
        };
        match self.client.send(self.client.request(Method::POST, &url).json(payload)).await {
            Ok(answer) => self.judge(&answer),
            Err(reason) => retry(reason),
        }
    }

    /// Returns the URL as it is now.
    async fn url(&self) -> Result<ReceiverUrl, Box<dyn Error + Send + Sync>> {
        Ok(parse_url(current(&self.url).await?.expose_secret())?)
    }

    fn judge(&self, answer: &ReceiverAnswer) -> WebhookAnswer {
        let status = answer.status;
        let meaning = StatusMeaning::of(status);
        if let Some(error) = answer.breaks_off().filter(|_| meaning == StatusMeaning::Success) {
            // A success means something only with its word. Any other status says enough without one.
            let reason = self.client.unanswered(error, false);
            return WebhookAnswer::Final(AttemptOutcome::Retry { reason, after: None });
        }
        let word = answer_word(answer).unwrap_or("a body that is not Slack's");
        let reason = |remedy| self.client.reason(&format!("{status}, {word}{remedy}"));
        let outcome = |remedy| undelivered(meaning, reason(remedy), answer.after, self.url.is_file());
        WebhookAnswer::Final(match meaning {
            StatusMeaning::Success if status == StatusCode::OK && word == "ok" => AttemptOutcome::Delivered,
            StatusMeaning::Transient => outcome(""),
            StatusMeaning::Redirect => {
                outcome(". Redirects are not followed: give the URL that Slack shows for the webhook")
            }
            _ if UNREADABLE_ANSWERS.contains(&word) => {
                return WebhookAnswer::Unreadable { reason: reason(remedy(word)) };
            }
            // Also a 200 with another word: something took the message, and would take it again at each retry.
            _ => outcome(remedy(word)),
        })
    }
}

/// Returns the body if it is one word, as Slack's answers are. Any other body (a proxy's error page) is
/// not shown: it may contain the URL.
fn answer_word(answer: &ReceiverAnswer) -> Option<&str> {
    let word = str::from_utf8(&answer.body).ok().filter(|_| answer.cut.is_none())?;
    let is_word = word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    Some(word).filter(|word| is_word && (1..=MAX_WORD_BYTES).contains(&word.len()))
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
