//! Sends alerts to every replica of an Alertmanager. A name that resolves to several addresses is several replicas:
//! a Service would bring each request to only one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::Method;
use tokio::{net::lookup_host, task::JoinSet};
use untrusted::with_causes;
use url::Host;

use super::alert::Alert;
use crate::{
    AttemptOutcome, SinkBuildError,
    receiver::{ReceiverAnswer, ReceiverClient, ReceiverUrl, SecretMask, StatusMeaning, undelivered},
};

/// Where alerts are posted to.
const PATH: &str = "/api/v2/alerts";

/// How long one request may take. An Alertmanager is near, and one that hangs holds up the answers of the others.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The URL of one or more replicas.
#[derive(Clone, Debug)]
pub(super) struct ReplicaUrl {
    pub(super) url: ReceiverUrl,
    host: String,
    port: u16,
}

impl ReplicaUrl {
    /// Parses the URL that Alertmanager is reached at, as `--web.external-url` has it.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, without showing it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let url = ReceiverUrl::parse_public(text)?;
        let mut whole = url.expose().clone();
        if !whole.username().is_empty() || whole.password().is_some() || whole.query().is_some() {
            return Err("has a user, a password or a query");
        }
        let host = match whole.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err("has no host"),
        };
        let port = whole.port_or_known_default().unwrap_or_default();
        let path = whole.path().trim_end_matches('/').trim_end_matches(PATH).to_owned();
        whole.set_path(&(path + PATH));
        Ok(Self { url: ReceiverUrl::parse_public(whole.as_str())?, host, port })
    }

    /// Returns the addresses of its replicas, each once.
    async fn addresses(&self) -> Result<BTreeSet<SocketAddr>, String> {
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let addresses: BTreeSet<_> = found.map_err(|error| self.unresolved(&with_causes(&error)))?.collect();
        if addresses.is_empty() { Err(self.unresolved("it has no address")) } else { Ok(addresses) }
    }

    fn unresolved(&self, why: &str) -> String {
        format!("finding the addresses of Alertmanager at {}: {why}. Check its name in urls", self.host)
    }
}

/// All replicas.
pub(super) struct Replicas {
    urls: Vec<ReplicaUrl>,
    /// The clients of the addresses that the URLs had when alerts were last sent.
    clients: Mutex<BTreeMap<(usize, SocketAddr), Arc<ReceiverClient>>>,
}

/// What became of alerts.
pub(super) struct SentAlerts {
    /// An outcome for each alert: it is delivered if one replica has taken it.
    pub(super) outcomes: Vec<AttemptOutcome>,
    /// Why a replica has not taken one of them, if there is such a replica.
    pub(super) left_out: Option<String>,
}

impl Replicas {
    /// Prepares to send.
    ///
    /// # Errors
    ///
    /// There are no certificate authorities to trust.
    pub(super) fn new(urls: Vec<ReplicaUrl>) -> Result<Self, SinkBuildError> {
        ReceiverClient::new("Alertmanager", REQUEST_TIMEOUT)?;
        Ok(Self { urls, clients: Mutex::default() })
    }

    /// Sends alerts to all replicas at once.
    ///
    /// # Cancel safety
    ///
    /// The alerts may still arrive.
    pub(super) async fn send(&self, alerts: &[Alert]) -> SentAlerts {
        let mut outcomes = Vec::new();
        let mut requests = JoinSet::new();
        let alerts: Arc<[Alert]> = alerts.into();
        let mut clients = BTreeMap::new();
        for (number, url) in self.urls.iter().enumerate() {
            let addresses = match url.addresses().await {
                Ok(addresses) => addresses,
                Err(reason) => {
                    outcomes.push(vec![AttemptOutcome::Retry { reason, after: None }; alerts.len()]);
                    continue;
                }
            };
            for address in addresses {
                match self.client(number, url, address) {
                    Ok(client) => {
                        clients.insert((number, address), Arc::clone(&client));
                        requests.spawn(post(client, url.url.clone(), Arc::clone(&alerts)));
                    }
                    Err(error) => {
                        let refused = AttemptOutcome::Refused { reason: error.to_string() };
                        outcomes.push(vec![refused; alerts.len()]);
                    }
                }
            }
        }
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = clients;
        while let Some(answered) = requests.join_next().await {
            outcomes.push(answered.unwrap_or_else(|error| {
                let reason = format!("posting to Alertmanager: {error}; please report this bug");
                vec![AttemptOutcome::Refused { reason }; alerts.len()]
            }));
        }
        let of_alert = |place| outcomes.iter().filter_map(move |all| all.get(place));
        let left_out = (0..alerts.len()).flat_map(of_alert).find_map(|outcome| outcome.failure());
        SentAlerts {
            outcomes: (0..alerts.len()).map(|place| best(of_alert(place))).collect(),
            left_out: left_out.map(str::to_owned),
        }
    }

    /// Returns the client of one address of a URL.
    fn client(
        &self,
        number: usize,
        url: &ReplicaUrl,
        address: SocketAddr,
    ) -> Result<Arc<ReceiverClient>, SinkBuildError> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&(number, address)) {
            return Ok(Arc::clone(client));
        }
        let name = if address.ip().to_string() == url.host {
            format!("Alertmanager at {address}")
        } else {
            format!("Alertmanager at {} ({address})", url.host)
        };
        let client =
            ReceiverClient::with(name, REQUEST_TIMEOUT, |client| client.resolve(&url.host, address))?;
        Ok(Arc::new(client))
    }
}

/// Returns the outcome that counts: one replica that has taken it suffices, and one that may take it is waited for.
fn best<'a>(outcomes: impl Iterator<Item = &'a AttemptOutcome>) -> AttemptOutcome {
    let rank = |outcome: &&AttemptOutcome| match outcome {
        AttemptOutcome::Delivered => 2,
        AttemptOutcome::Retry { .. } => 1,
        _ => 0,
    };
    let refused = || AttemptOutcome::Refused { reason: "there is no Alertmanager to send to".to_owned() };
    outcomes.max_by_key(rank).cloned().unwrap_or_else(refused)
}

/// Posts alerts to one replica. Returns an outcome for each.
async fn post(client: Arc<ReceiverClient>, url: ReceiverUrl, alerts: Arc<[Alert]>) -> Vec<AttemptOutcome> {
    match send(&client, &url, &alerts).await {
        Ok(()) => vec![AttemptOutcome::Delivered; alerts.len()],
        // One bad alert is enough for it. The good ones are taken, but which they are isn't said.
        Err((AttemptOutcome::Refused { .. }, true)) if alerts.len() > 1 => {
            let mut outcomes = Vec::with_capacity(alerts.len());
            for alert in alerts.iter() {
                let sent = send(&client, &url, std::slice::from_ref(alert)).await;
                outcomes.push(sent.map_or_else(|(outcome, _)| outcome, |()| AttemptOutcome::Delivered));
            }
            outcomes
        }
        Err((outcome, _)) => vec![outcome; alerts.len()],
    }
}

/// Sends one request. An error is the outcome, and whether the answer was 400.
async fn send(
    client: &ReceiverClient,
    url: &ReceiverUrl,
    alerts: &[Alert],
) -> Result<(), (AttemptOutcome, bool)> {
    match client.send(client.request(Method::POST, url).json(alerts)).await {
        Ok(answer) if StatusMeaning::of(answer.status) == StatusMeaning::Success => Ok(()),
        Ok(answer) => Err((refused(client, &answer), answer.status.as_u16() == 400)),
        Err(reason) => Err((AttemptOutcome::Retry { reason, after: None }, false)),
    }
}

fn refused(client: &ReceiverClient, answer: &ReceiverAnswer) -> AttemptOutcome {
    let meaning = StatusMeaning::of(answer.status);
    let remedy = match meaning {
        StatusMeaning::Denied => ". Check urls: is that Alertmanager, and is its path the right one?",
        StatusMeaning::Redirect => ". Redirects are not followed: give the URL that it leads to",
        _ => "",
    };
    let said = SecretMask::default().show(&answer.body, answer.cut.is_some());
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let reason = client.reason(&format!("{}{said}{remedy}", answer.status));
    undelivered(meaning, reason, answer.after, false)
}
