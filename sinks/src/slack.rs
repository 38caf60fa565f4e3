//! The `slack` sink: what was killed, in words, in the channel of an incoming webhook.
//!
//! Findings that come together are told together. [`wording`] says what is told, [`mrkdwn`] how that is
//! written, [`message`] what fits into one message; [`webhook`] posts and says what the answers mean.

mod message;
mod mrkdwn;
mod webhook;
mod wording;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde_json::Value;
use settings::ConfigSection;
use tokio::time::Instant;

use crate::{
    AttemptOutcome, Delivery, Grouping, Sink, SinkBuildError, SinkContext, SinkLimits, SinkSettings, SinkType,
};
use message::SlackMessage;
use webhook::{SlackWebhook, SlackWebhookUrl, WebhookAnswer};

/// `type: slack`.
pub const TYPE: SinkType = SinkType { name: "slack", grouping: GROUPING, read, ..SinkType::PLAIN };

/// A crash loop is one message in its first seconds and one an hour after that. The wait gathers the
/// Pods of a workload that die together.
const GROUPING: Grouping = Grouping { wait: Duration::from_secs(2), interval: Duration::from_hours(1) };

/// What one message has room for as a rule. Not more: what became of a message is known when the whole
/// batch is through, and of one that is cut short by the end of the program, never.
const BATCH: usize = 40;

/// Slack takes "one message a second" from a webhook, and more only in short bursts.
const PACE: Duration = Duration::from_secs(1);

/// Slack answers within a second as a rule; a proxy or a lost connection may not answer at all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A batch of the longest possible names is some hundred messages. The sink ends in time by itself (see
/// [`LAST_START`]), since an attempt cut short would send again what was sent already.
const TIMEOUT: Duration = Duration::from_secs(75);

/// A message begun later in the attempt than this might not end before [`TIMEOUT`]: it may be posted
/// twice, with and without blocks.
const LAST_START: Duration = Duration::from_secs(45);
const _: () =
    assert!(LAST_START.as_secs() + 2 * (PACE.as_secs() + REQUEST_TIMEOUT.as_secs()) < TIMEOUT.as_secs());

/// What is read of the configuration.
#[derive(Debug)]
struct SlackSettings {
    url: SlackWebhookUrl,
}

fn read(section: &mut ConfigSection<'_>) -> Option<Arc<dyn SinkSettings>> {
    let secret = section.secret("webhook_url")?;
    match SlackWebhookUrl::parse(secret.expose_secret()) {
        Ok(url) => Some(Arc::new(SlackSettings { url })),
        Err(problem) => {
            section.error(
                "webhook_url",
                problem,
                "the https URL that Slack shows for an incoming webhook; http only to a loopback address",
            );
            None
        }
    }
}

impl SinkSettings for SlackSettings {
    fn build(&self, _: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError> {
        let webhook = SlackWebhook::new(self.url.clone(), REQUEST_TIMEOUT)?;
        Ok(Arc::new(SlackSink { webhook, pace: PACE, next: tokio::sync::Mutex::new(Instant::now()) }))
    }
}

/// Posts findings as messages.
struct SlackSink {
    webhook: SlackWebhook,
    /// The least time between two messages.
    pace: Duration,
    /// When the next message may be sent.
    next: tokio::sync::Mutex<Instant>,
}

impl SlackSink {
    /// A message that Slack can't read is our fault, and no reason to lose the findings in it: they are
    /// told once more without blocks.
    async fn post(&self, message: &SlackMessage<'_>) -> AttemptOutcome {
        let reason = match self.send(&message.body()).await {
            WebhookAnswer::Final(outcome) => return outcome,
            WebhookAnswer::Unreadable { reason } => reason,
        };
        tracing::warn!(reason, "Slack could not read a message, and is sent the same as plain text");
        match self.send(&message.plain_body()).await {
            WebhookAnswer::Final(outcome) => outcome,
            WebhookAnswer::Unreadable { reason } => AttemptOutcome::Refused { reason },
        }
    }

    async fn send(&self, payload: &Value) -> WebhookAnswer {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        let answer = self.webhook.post(payload).await;
        *next = Instant::now() + self.pace;
        answer
    }
}

#[async_trait]
impl Sink for SlackSink {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: BATCH, concurrency: 1, interval: PACE, timeout: TIMEOUT }
    }

    /// Sends as few messages as Slack's limits allow. After one that must be tried again the others
    /// are not sent: they would fare the same.
    ///
    /// # Cancel safety
    ///
    /// Slack knows no identity of a message: one whose answer was not waited for may be sent twice.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        let begun = Instant::now();
        let mut outcomes = vec![None; batch.len()];
        let mut rest = AttemptOutcome::Retry {
            reason: "Slack took too long over the messages before".into(),
            after: None,
        };
        for message in message::compose(batch, begun) {
            if begun.elapsed() > LAST_START {
                break;
            }
            let outcome = self.post(&message).await;
            for finding in message.findings() {
                outcomes[finding] = Some(outcome.clone());
            }
            if matches!(outcome, AttemptOutcome::Retry { .. }) {
                rest = outcome;
                break;
            }
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| rest.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
