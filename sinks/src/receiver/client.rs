//! Sends requests to a receiver, and reads of its answers what matters.

use std::{error::Error, time::Duration};

use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, redirect};
use tls::{HandshakeError, Trust};
use untrusted::{ReadError, read_up_to, retry_after, with_causes};

use super::ReceiverUrl;
use crate::SinkBuildError;

/// The longest answer that is read. Receivers say in the first sentence what is wrong.
const MAX_ANSWER_BYTES: usize = 4096;

/// What Microsoft Teams writes before the status of what went wrong behind a 200 (Microsoft: "Create and send messages",
/// rate limiting for connectors).
const TEAMS_REPORT: &str = "Microsoft Teams endpoint returned HTTP error ";

/// Sends requests to a receiver.
#[derive(Debug)]
pub(crate) struct ReceiverClient {
    /// What errors call the receiver, such as `Slack`.
    receiver: String,
    encrypted: Client,
    plain: Client,
}

/// What a receiver answered.
#[derive(Debug)]
pub(crate) struct ReceiverAnswer {
    /// The status.
    pub(crate) status: StatusCode,
    /// How long the receiver asks to be left alone, if it does.
    pub(crate) after: Option<Duration>,
    /// The body, or its beginning and why there is no more.
    pub(crate) body: Vec<u8>,
    /// Why it is not the whole body.
    pub(crate) cut: Option<ReadError>,
}

impl ReceiverClient {
    /// Prepares to send to a receiver. Trusts the certificate authorities of the system, or of `$SSL_CERT_FILE`
    /// and `$SSL_CERT_DIR`; obeys `$HTTPS_PROXY` and `$NO_PROXY`. What is sent over plain http stays in the
    /// cluster's network, so it goes through no proxy. Redirects are not followed.
    ///
    /// # Errors
    ///
    /// There are no certificate authorities to trust.
    pub(crate) fn new(receiver: impl Into<String>, timeout: Duration) -> Result<Self, SinkBuildError> {
        Self::with(receiver, timeout, |client| client)
    }

    /// Does the same as [`new`](Self::new), and prepares both of its clients further.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub(crate) fn with(
        receiver: impl Into<String>,
        timeout: Duration,
        prepare: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, SinkBuildError> {
        let failed = |source| SinkBuildError::Failed {
            tried: "preparing HTTPS",
            source,
            remedy: "Mount the certificate authorities and name their file in $SSL_CERT_FILE",
        };
        let tls = tls::client_config(&Trust::System, None).map_err(|error| failed(error.into()))?;
        let client = || {
            let client = Client::builder()
                .user_agent(concat!("kubernetes-oom-event-generator/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .timeout(timeout)
                .tls_backend_preconfigured(tls.clone());
            prepare(client)
        };
        Ok(Self {
            receiver: receiver.into(),
            encrypted: client().build().map_err(|error| failed(error.into()))?,
            plain: client().no_proxy().build().map_err(|error| failed(error.into()))?,
        })
    }

    /// Begins a request.
    pub(crate) fn request(&self, method: Method, url: &ReceiverUrl) -> RequestBuilder {
        let client = if url.is_plain() { &self.plain } else { &self.encrypted };
        client.request(method, url.expose().clone())
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// Says why there was no answer, and what to do, without the URL.
    ///
    /// # Cancel safety
    ///
    /// The request may still arrive.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<ReceiverAnswer, String> {
        match request.send().await {
            Ok(response) => Ok(ReceiverAnswer::read(response).await),
            Err(error) => {
                let error = error.without_url();
                Err(self.unanswered(&error, error.is_connect() || error.is_timeout()))
            }
        }
    }

    /// Says that the receiver answered, or did not, and what to do.
    pub(crate) fn reason(&self, said: &str) -> String {
        format!("posting to {}: {said}", self.receiver)
    }

    /// Says why there was no answer, and what to do.
    pub(crate) fn unanswered(&self, error: &(dyn Error + 'static), may_be_far: bool) -> String {
        let said = match HandshakeError::find(error) {
            Some(error) if error.is_distrust() => {
                format!("{error}. Name the file of the certificate authorities to trust in $SSL_CERT_FILE")
            }
            Some(error) => error.to_string(),
            None if may_be_far => format!(
                "{}. Check that {} can be reached from here; if that needs a proxy, set $HTTPS_PROXY",
                with_causes(error),
                self.receiver
            ),
            None => with_causes(error),
        };
        self.reason(&said)
    }
}

impl ReceiverAnswer {
    /// Returns what the receiver means. Microsoft Teams may answer 200 and report in the body what it should have been.
    pub(crate) fn status(&self) -> StatusCode {
        let body = String::from_utf8_lossy(&self.body);
        let reported = body.split_once(TEAMS_REPORT).and_then(|(_, status)| status.get(..3)?.parse().ok());
        match reported {
            Some(status) if self.status == StatusCode::OK => status,
            _ => self.status,
        }
    }

    /// Returns why the body broke off, if it did.
    pub(crate) fn breaks_off(&self) -> Option<&ReadError> {
        self.cut.as_ref().filter(|error| matches!(error, ReadError::BrokenOff(_)))
    }

    async fn read(response: Response) -> Self {
        let (status, after) = (response.status(), retry_after(response.headers()));
        let mut body = Vec::new();
        let cut = read_up_to(reqwest::Body::from(response), MAX_ANSWER_BYTES, &mut body).await.err();
        Self { status, after, body, cut }
    }
}
