//! The `slack` sink: says what was killed in the channel of an incoming webhook.
//!
//! Findings of one batch share messages. [`wording`] chooses the words, [`mrkdwn`] escapes them,
//! [`message`] fits them into messages, and [`webhook`] posts these and interprets the answers.

mod link;
mod message;
mod mrkdwn;
mod quiet;
mod webhook;
mod wording;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use finding::ResolvedIncident;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;
use settings::{ConfigSection, SecretSource};
use tokio::time::Instant;

use crate::{
    AttemptOutcome, Delivery, Grouping, Sink, SinkBuildError, SinkContext, SinkLimits, SinkSettings,
    SinkType,
    receiver::{EXPECTED_URL, UNENCRYPTED, one_by_one},
};
use link::LinkTemplate;
use message::SlackMessage;
use webhook::{SlackWebhook, WebhookAnswer};
use wording::MessageSetting;

/// `type: slack`.
pub const TYPE: SinkType =
    SinkType { name: "slack", tells_resolved: true, grouping: GROUPING, read, ..SinkType::PLAIN };

/// A crash loop sends its first message after 2 s, the second within 5 minutes, then one an hour. The first wait
/// gathers Pods of a workload that are killed together.
const GROUPING: Grouping = Grouping { wait: Duration::from_secs(2), interval: Duration::from_hours(1) };

/// Findings that usually fit into one message or two: the kills of 20 Pods, 5 each. Not more, because outcomes
/// are known only when the whole batch is through, and never if the program ends before.
const BATCH: usize = 100;

/// How many kills of a container of a workload are told one by one, Pod by Pod; of the rest, a count. They
/// are five messages or more.
const MAX_NAMED: usize = 200;

/// The least time between two messages: Slack takes "one message a second" from a webhook, and more only
/// in short bursts.
const MESSAGE_INTERVAL: Duration = Duration::from_secs(1);

/// How long one post may take. Slack usually answers within a second; a proxy or a lost connection may
/// never answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one batch may take; with the longest possible names it is some hundred messages. The sink
/// stops in time by itself (see [`LAST_START`]), because a cancelled call would send messages twice.
const TIMEOUT: Duration = Duration::from_secs(75);

/// No message of a batch begins later than this after the first: it may be posted twice, with blocks and
/// without, and must end before [`TIMEOUT`].
const LAST_START: Duration = Duration::from_secs(45);
const _: () = assert!(
    LAST_START.as_secs() + 2 * (MESSAGE_INTERVAL.as_secs() + REQUEST_TIMEOUT.as_secs()) < TIMEOUT.as_secs()
);

/// The settings of a `slack` sink.
#[derive(Debug)]
struct SlackSettings {
    url: SecretSource,
    /// Whether others may read what is sent on its way.
    is_readable_by_others: bool,
    link: Option<LinkTemplate>,
}

fn read(section: &mut ConfigSection<'_>) -> Option<Arc<dyn SinkSettings>> {
    let link = read_link(section);
    let url = section.secret("webhook_url")?;
    match webhook::parse_url(url.read().ok()?.expose_secret()) {
        Ok(parsed) => {
            let is_readable_by_others = parsed.is_readable_by_others();
            Some(Arc::new(SlackSettings { url, is_readable_by_others, link }))
        }
        Err(problem) => {
            let expected = format!("the URL that Slack shows for an incoming webhook: {EXPECTED_URL}");
            section.error("webhook_url", problem, expected);
            None
        }
    }
}

fn read_link(section: &mut ConfigSection<'_>) -> Option<LinkTemplate> {
    let text = section.get_or("link", String::new(), LinkTemplate::EXPECTED);
    if text.is_empty() {
        return None;
    }
    let link = LinkTemplate::parse(&text);
    link.map_err(|problem| section.error("link", problem, LinkTemplate::EXPECTED)).ok()
}

impl SinkSettings for SlackSettings {
    fn build(&self, _: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError> {
        let webhook = SlackWebhook::new(self.url.clone(), REQUEST_TIMEOUT)?;
        Ok(Arc::new(SlackSink {
            webhook,
            link: self.link.clone(),
            pace: MESSAGE_INTERVAL,
            next: tokio::sync::Mutex::new(Instant::now()),
        }))
    }

    fn warning(&self) -> Option<&'static str> {
        self.is_readable_by_others.then_some(UNENCRYPTED)
    }
}

/// Returns the payloads that the sink posts about a batch at `now`, which is `time` by the calendar.
pub fn payloads(batch: &[Delivery], now: Instant, time: Timestamp) -> Vec<Value> {
    let setting = MessageSetting { now, time, link: None };
    message::compose(batch, &setting).iter().map(SlackMessage::body).collect()
}

/// Returns the payload that the sink posts about an incident that is over.
pub fn resolved_payload(resolved: &ResolvedIncident) -> Value {
    quiet::body(resolved)
}

/// Posts findings as messages.
struct SlackSink {
    webhook: SlackWebhook,
    link: Option<LinkTemplate>,
    /// The least time between two messages.
    pace: Duration,
    /// When the next message may be sent.
    next: tokio::sync::Mutex<Instant>,
}

impl SlackSink {
    /// Posts a message, and once more without blocks if Slack can't read it: no finding is lost because
    /// this program made a mistake in a block.
    async fn post(&self, body: &Value, plain_body: &Value) -> AttemptOutcome {
        let reason = match self.send(body).await {
            WebhookAnswer::Final(outcome) => return outcome,
            WebhookAnswer::Unreadable { reason } => reason,
        };
        tracing::warn!(reason, "Slack could not read a message; sending it as plain text");
        match self.send(plain_body).await {
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
        SinkLimits { batch: BATCH, concurrency: 1, interval: MESSAGE_INTERVAL, timeout: TIMEOUT }
    }

    fn max_named(&self) -> Option<usize> {
        Some(MAX_NAMED)
    }

    /// Sends as few messages as Slack's limits allow. After a message that must be retried, the others are
    /// not sent, because they would fail in the same way.
    ///
    /// # Cancel safety
    ///
    /// Slack doesn't recognise a repetition: a message whose answer was not awaited may appear twice.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        let begun = Instant::now();
        let mut outcomes = vec![None; batch.len()];
        let mut rest = AttemptOutcome::Retry {
            reason: "Slack took too long for the messages before it".into(),
            after: None,
        };
        let setting = MessageSetting { now: begun, time: Timestamp::now(), link: self.link.as_ref() };
        for message in message::compose(batch, &setting) {
            if begun.elapsed() > LAST_START {
                break;
            }
            let outcome = self.post(&message.body(), &message.plain_body()).await;
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

    /// Sends a message for each incident. After one that must be retried, the others are not sent.
    ///
    /// # Cancel safety
    ///
    /// A message whose answer was not awaited may appear twice.
    async fn resolve(&self, resolved: &[ResolvedIncident]) -> Vec<AttemptOutcome> {
        let told = resolved
            .iter()
            .map(async |incident| self.post(&quiet::body(incident), &quiet::plain_body(incident)).await);
        one_by_one(told, Instant::now() + LAST_START).await
    }
}

#[cfg(test)]
mod tests;
