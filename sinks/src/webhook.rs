//! The `webhook` sink: posts findings to any receiver of JSON, in the words of a template.
//!
//! [`BodyTemplate`] makes the body, [`signature`] signs it. What an answer means is said in
//! [`StatusMeaning`](crate::receiver::StatusMeaning), for all sinks. URL, headers and signing secret are secrets.

mod body;
mod fields;
mod signature;

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use finding::{Finding, KillId, ResolvedIncident};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use settings::{ConfigSection, SecretSource, quote};
use tokio::time::Instant;

use crate::{
    AttemptOutcome, Delivery, Sink, SinkBuildError, SinkContext, SinkLimits, SinkSettings, SinkType,
    receiver::{
        EXPECTED_URL, ReceiverAnswer, ReceiverClient, ReceiverUrl, SecretMask, StatusMeaning, UNENCRYPTED,
        current, one_by_one, undelivered,
    },
};
use body::{BodyError, BodyTemplate, TemplateSecrets};
use signature::SigningKey;

/// `type: webhook`.
pub const TYPE: SinkType = SinkType { name: "webhook", tells_resolved: true, read, ..SinkType::PLAIN };

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one call may take: requests, and reading files that may be on a network.
const TIMEOUT: Duration = Duration::from_mins(1);

/// No further request of a call begins later than this after the first.
const LAST_START: Duration = Duration::from_secs(45);
const _: () = assert!(LAST_START.as_secs() + REQUEST_TIMEOUT.as_secs() < TIMEOUT.as_secs());

/// The most findings in a request.
const MAX_BATCH: usize = 200;

/// Headers that the connection itself needs.
const RESERVED_HEADERS: [HeaderName; 3] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

/// The settings of a `webhook` sink.
#[derive(Clone, Debug)]
struct WebhookSettings {
    url: SecretSource,
    method: Method,
    headers: BTreeMap<String, SecretSource>,
    batch: usize,
    body: Arc<BodyTemplate>,
    /// What the template knows as `secrets`.
    body_secrets: BTreeMap<String, SecretSource>,
    signing_secret: Option<SecretSource>,
    accept: Vec<u16>,
    is_readable_by_others: bool,
}

fn read(section: &mut ConfigSection<'_>) -> Option<Arc<dyn SinkSettings>> {
    let url = section.secret("url");
    let parsed = url.as_ref().and_then(|url| read_url(section, url));
    let method = read_method(section);
    let headers = read_headers(section);
    let batch = read_batch(section);
    let body_secrets = section
        .secret_files("secret_files", "names with paths, such as { routing_key: /etc/oom/routing-key }");
    let body = read_body(section, batch, body_secrets.keys());
    let signing_secret = section.optional_secret_file("signing_secret_file");
    if let Some(Err(problem)) = signing_secret.as_ref().map(signing_key) {
        section.error("signing_secret_file", problem, "whsec_ and the secret in Base64");
    }
    let accept = read_accept(section);
    Some(Arc::new(WebhookSettings {
        url: url?,
        method,
        headers,
        batch,
        body: Arc::new(body?),
        body_secrets,
        signing_secret,
        accept,
        is_readable_by_others: parsed?.is_readable_by_others(),
    }))
}

fn read_url(section: &mut ConfigSection<'_>, url: &SecretSource) -> Option<ReceiverUrl> {
    let parsed = ReceiverUrl::parse(url.read().ok()?.expose_secret());
    parsed.inspect_err(|problem| section.error("url", problem, EXPECTED_URL)).ok()
}

fn read_method(section: &mut ConfigSection<'_>) -> Method {
    let expected = "POST, PUT or PATCH";
    match section.get_or("method", "POST".to_owned(), expected).as_str() {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        other => {
            section.error("method", format!("is {}", quote(other)), expected);
            Method::POST
        }
    }
}

/// Reads both kinds of headers. Errors show names, and no value.
fn read_headers(section: &mut ConfigSection<'_>) -> BTreeMap<String, SecretSource> {
    let values = section.secret_values("headers", "names with texts, such as { X-Team: shop }");
    let files = section
        .secret_files("header_files", "names with paths, such as { Authorization: /etc/oom/authorization }");
    let mut headers: BTreeMap<String, SecretSource> = BTreeMap::new();
    for (key, given) in [("headers", values), ("header_files", files)] {
        for (name, source) in given {
            let problem = match HeaderName::try_from(&name) {
                Err(_) => Some("is no name of a header"),
                Ok(name) if RESERVED_HEADERS.contains(&name) => Some("is set by the connection"),
                Ok(_) if headers.keys().any(|other| other.eq_ignore_ascii_case(&name)) => {
                    Some("is given twice")
                }
                Ok(_) if source.read().is_ok_and(|value| header_value(&value).is_none()) => {
                    Some("has a value that no header can have")
                }
                Ok(_) => None,
            };
            match problem {
                Some(problem) => {
                    let problem = format!("has {}, which {problem}", quote(&name));
                    section.error(key, problem, "names and values that a header may have, each once");
                }
                None => {
                    headers.insert(name, source);
                }
            }
        }
    }
    headers
}

fn read_batch(section: &mut ConfigSection<'_>) -> usize {
    let expected = format!("a whole number from 1 to {MAX_BATCH}");
    let batch = section.get_or("batch", 1, &expected);
    if !(1..=MAX_BATCH).contains(&batch) {
        section.error("batch", format!("is {batch}"), expected);
    }
    batch
}

/// Reads the template, and makes sure that it renders all kinds of examples.
fn read_body<'a>(
    section: &mut ConfigSection<'_>,
    batch: usize,
    secret_names: impl Iterator<Item = &'a String>,
) -> Option<BodyTemplate> {
    let expected = "a MiniJinja template that gives JSON";
    let source = section.get_or("body", String::new(), expected);
    let sends_resolved = section.is_true("send_resolved");
    let template = BodyTemplate::new(&source, batch).and_then(|template| {
        template.try_out(sends_resolved, &TemplateSecrets::example(secret_names))?;
        Ok(template)
    });
    template.inspect_err(|error| section.error("body", error, expected)).ok()
}

fn read_accept(section: &mut ConfigSection<'_>) -> Vec<u16> {
    let expected = "a list of statuses such as [200, 204]";
    let accept = section.get_or("accept", vec![200, 201, 202, 204], expected);
    if accept.is_empty() {
        section.error("accept", "is empty, so nothing would ever count as delivered", expected);
    }
    if let Some(status) = accept.iter().find(|status| !(200..=599).contains(*status)) {
        section.error("accept", format!("has {status}"), expected);
    }
    accept
}

fn header_value(value: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn signing_key(source: &SecretSource) -> Result<SigningKey, Box<dyn Error + Send + Sync>> {
    Ok(SigningKey::parse(&source.read()?)?)
}

impl SinkSettings for WebhookSettings {
    fn build(&self, _: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError> {
        let client = ReceiverClient::new("the webhook", REQUEST_TIMEOUT)?;
        Ok(Arc::new(WebhookSink { client, settings: self.clone() }))
    }

    fn warning(&self) -> Option<&'static str> {
        self.is_readable_by_others.then_some(UNENCRYPTED)
    }
}

/// Posts findings.
struct WebhookSink {
    client: ReceiverClient,
    settings: WebhookSettings,
}

/// What one request needs, as the files hold it now.
struct RequestSecrets {
    url: ReceiverUrl,
    headers: HeaderMap,
    body: TemplateSecrets,
    signing_key: Option<SigningKey>,
    mask: SecretMask,
}

/// What became of a request.
enum PostOutcome {
    /// The outcome of all that it tells of.
    OfAll(AttemptOutcome),
    /// Its body can't be made, or the receiver doesn't take it. One of several findings may be to blame.
    BodyRefused {
        /// Why, and what to do. Carries no secret.
        reason: String,
    },
}

impl PostOutcome {
    fn into_outcome(self) -> AttemptOutcome {
        match self {
            Self::OfAll(outcome) => outcome,
            Self::BodyRefused { reason } => AttemptOutcome::Refused { reason },
        }
    }
}

impl WebhookSink {
    async fn post_findings(&self, findings: &[&Finding]) -> PostOutcome {
        let id = match findings {
            [finding] => finding.id.clone(),
            several => KillId::new(&several.iter().map(|finding| finding.id.as_str()).collect::<Vec<_>>()),
        };
        self.post(&id, |secrets| self.settings.body.findings(findings, secrets)).await
    }

    /// Posts a body once. Receivers that verify signatures recognise a repetition by the `id`.
    async fn post(
        &self,
        id: &KillId,
        body: impl FnOnce(&TemplateSecrets) -> Result<String, BodyError>,
    ) -> PostOutcome {
        let retry = |reason| PostOutcome::OfAll(AttemptOutcome::Retry { reason, after: None });
        let secrets = match self.secrets().await {
            Ok(secrets) => secrets,
            Err(problem) => return retry(self.client.reason(&problem.to_string())),
        };
        let body = match body(&secrets.body) {
            Ok(body) => body,
            Err(error) => {
                let said = secrets.mask.hide(&format!("the body can't be made: {error}"));
                return PostOutcome::BodyRefused { reason: self.client.reason(&said) };
            }
        };
        let mut request = self.client.request(self.settings.method.clone(), &secrets.url);
        if let Some(key) = &secrets.signing_key {
            let now = Timestamp::now().as_second();
            request = request.headers(key.headers(id.as_str(), now, &body));
        }
        match self.client.send(request.headers(secrets.headers).body(body)).await {
            Ok(answer) => self.judge(&answer, &secrets.mask),
            Err(reason) => retry(reason),
        }
    }

    /// Reads all secrets again. An error names the key, and shows no secret.
    async fn secrets(&self) -> Result<RequestSecrets, Box<dyn Error + Send + Sync>> {
        let settings = &self.settings;
        let of = |key: &'static str| move |error: &dyn std::fmt::Display| format!("{key} {error}");
        let url = current(&settings.url).await.map_err(|error| of("url_file")(&error))?;
        let url = ReceiverUrl::parse(url.expose_secret()).map_err(|error| of("url_file")(&error))?;
        let mut mask = SecretMask::default();
        mask.url(&url);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, source) in &settings.headers {
            let value = current(source).await.map_err(|error| format!("header_files.{name} {error}"))?;
            mask.text(&value);
            let value = header_value(&value)
                .ok_or_else(|| format!("header_files.{name} holds what no header can"))?;
            headers.insert(HeaderName::try_from(name)?, value);
        }
        let mut body = TemplateSecrets::default();
        for (name, source) in &settings.body_secrets {
            let value = current(source).await.map_err(|error| format!("secret_files.{name} {error}"))?;
            mask.text(&value);
            body.add(name, &value);
        }
        let signing_key = match &settings.signing_secret {
            Some(source) => {
                let secret = current(source).await.map_err(|error| of("signing_secret_file")(&error))?;
                mask.text(&secret);
                Some(SigningKey::parse(&secret).map_err(|error| of("signing_secret_file")(&error))?)
            }
            None => None,
        };
        Ok(RequestSecrets { url, headers, body, signing_key, mask })
    }

    fn judge(&self, answer: &ReceiverAnswer, mask: &SecretMask) -> PostOutcome {
        let status = answer.status();
        if self.settings.accept.contains(&status.as_u16()) {
            return PostOutcome::OfAll(AttemptOutcome::Delivered);
        }
        let meaning = StatusMeaning::of(status);
        let remedy = match meaning {
            StatusMeaning::Success => ". If that is a success, name the status in accept",
            StatusMeaning::Redirect => ". Redirects are not followed: give the URL that it leads to",
            StatusMeaning::Denied => ". Check the URL, and the headers and secrets that the receiver wants",
            StatusMeaning::Refused => ". Check the body against what the receiver takes",
            StatusMeaning::Transient => "",
        };
        let said = match mask.show(&answer.body, answer.cut.is_some()) {
            said if said.is_empty() => String::new(),
            said => format!(": {said}"),
        };
        let reason = self.client.reason(&format!("{status}{said}{remedy}"));
        match meaning {
            StatusMeaning::Refused => PostOutcome::BodyRefused { reason },
            _ => PostOutcome::OfAll(undelivered(meaning, reason, answer.after, self.settings.has_file())),
        }
    }
}

impl WebhookSettings {
    fn has_file(&self) -> bool {
        self.url.is_file()
            || self.signing_secret.is_some()
            || self.headers.values().chain(self.body_secrets.values()).any(SecretSource::is_file)
    }
}

#[async_trait]
impl Sink for WebhookSink {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: self.settings.batch, concurrency: 1, interval: Duration::ZERO, timeout: TIMEOUT }
    }

    /// Posts a batch in one request. If its body is refused, posts the findings one by one: whoever names Pods so that
    /// a receiver doesn't take them costs others nothing.
    ///
    /// # Cancel safety
    ///
    /// The request may still arrive. A receiver that knows its `webhook-id` recognises the repetition.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        let last_start = Instant::now() + LAST_START;
        let findings: Vec<&Finding> = batch.iter().map(|delivery| &*delivery.finding).collect();
        match self.post_findings(&findings).await {
            PostOutcome::BodyRefused { .. } if findings.len() > 1 => {
                let told =
                    findings.iter().map(async |finding| self.post_findings(&[finding]).await.into_outcome());
                one_by_one(told, last_start).await
            }
            outcome => vec![outcome.into_outcome(); batch.len()],
        }
    }

    async fn resolve(&self, resolved: &[ResolvedIncident]) -> Vec<AttemptOutcome> {
        let told = resolved.iter().map(async |incident| {
            let body = |secrets: &TemplateSecrets| self.settings.body.resolved(incident, secrets);
            self.post(&incident.id, body).await.into_outcome()
        });
        one_by_one(told, Instant::now() + LAST_START).await
    }
}

#[cfg(test)]
mod tests;
