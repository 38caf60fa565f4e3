//! The URL of a receiver, which is a secret: nothing shows it.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use reqwest::Url;
use url::Host;

/// Which URLs are taken, as an error's "expected …".
pub(crate) const EXPECTED_URL: &str =
    "an https URL; http only to loopback, a private address, a name without a dot, .svc or .cluster.local";

/// What a sink warns of that posts over plain http.
pub(crate) const UNENCRYPTED: &str =
    "posts over plain http, so whoever can read the cluster's network can read the findings and the URL";

/// Where findings may be sent: `https`, or `http` to what doesn't leave the cluster's network.
#[derive(Clone)]
pub(crate) struct ReceiverUrl(Url);

impl ReceiverUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, without showing it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL")?;
        match (url.scheme(), url.host()) {
            ("https", Some(_)) => Ok(Self(url)),
            ("http", Some(host)) if is_nearby(&host) => Ok(Self(url)),
            ("http", _) => Err("would send the findings, and the URL if it is secret, unencrypted"),
            _ => Err("is not an https URL"),
        }
    }

    /// Parses the URL of a receiver whose URL is no secret, which may be `http` wherever it is.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Self::parse).
    pub(crate) fn parse_public(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL")?;
        let is_http = ["http", "https"].contains(&url.scheme()) && url.has_host();
        if is_http { Ok(Self(url)) } else { Err("is not an http or https URL") }
    }

    /// Returns the URL, for a request.
    pub(crate) fn expose(&self) -> &Url {
        &self.0
    }

    /// Returns whether it is `http`.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Returns whether others may read what is sent there on its way.
    pub(crate) fn is_readable_by_others(&self) -> bool {
        self.is_plain() && !self.0.host().is_some_and(|host| is_loopback(&host))
    }
}

impl fmt::Debug for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiverUrl(***)")
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.to_canonical().is_loopback(),
    }
}

fn is_nearby(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
            matches!(labels.as_slice(), [_] | [.., "svc"] | [.., "cluster", "local"])
        }
        Host::Ipv4(address) => address.is_loopback() || address.is_private(),
        Host::Ipv6(address) => match address.to_canonical() {
            IpAddr::V4(address) => address.is_loopback() || address.is_private(),
            IpAddr::V6(address) => address == Ipv6Addr::LOCALHOST || address.is_unique_local(),
        },
    }
}
