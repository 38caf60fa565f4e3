//! Which proxy stands between this program and an API server.

use std::net::IpAddr;

use http::{HeaderValue, Uri, uri::Scheme};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// A proxy, and how to log in to it.
#[derive(Clone, PartialEq)]
pub(crate) struct ProxyRoute {
    /// Its scheme is `http`, `https` or `socks5`.
    pub uri: Uri,
    /// For `http` and `https`.
    pub authorization: Option<HeaderValue>,
    /// User and password, for `socks5`.
    pub login: Option<(String, String)>,
}

impl ProxyRoute {
    /// Reads a kubeconfig's `proxy-url`.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let is_known = ["http://", "https://", "socks5://"].iter().any(|scheme| url.starts_with(scheme));
        let proxies = Matcher::builder().all(url).build();
        // It holds for every address.
        let anywhere = Uri::from_static("https://kubernetes");
        proxies.intercept(&anywhere).filter(|_| is_known).map(|proxy| Self::of(&proxy))
    }

    /// Returns the proxy that the environment names for an address, as Go reads it: none for this very
    /// machine, and `$NO_PROXY` may name hosts with a port, and everything by `*`.
    pub(crate) fn of_environment(address: &Uri, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let either = |name: &str| {
            let filled = |name: &str| variable(name).filter(|value| !value.is_empty());
            filled(name).or_else(|| filled(&name.to_lowercase())).unwrap_or_default()
        };
        let excepted = either("NO_PROXY");
        if is_loopback(address) || excepted.split(',').any(|entry| entry.trim() == "*") {
            return None;
        }
        let default_port = if address.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        let port = format!(":{}", address.port_u16().unwrap_or(default_port));
        let excepted: Vec<&str> = excepted
            .split(',')
            .map(str::trim)
            .map(|entry| entry.strip_suffix(&port).unwrap_or(entry))
            .collect();
        let proxies = Matcher::builder()
            .http(either("HTTP_PROXY"))
            .https(either("HTTPS_PROXY"))
            .no(excepted.join(","))
            .build();
        proxies.intercept(address).map(|proxy| Self::of(&proxy))
    }

    fn of(proxy: &Intercept) -> Self {
        let login = proxy.raw_auth().map(|(user, password)| (user.to_owned(), password.to_owned()));
        Self { uri: proxy.uri().clone(), authorization: proxy.basic_auth().cloned(), login }
    }
}

/// Returns whether an address is this very machine's: what is sent to it is not seen by others.
pub(crate) fn is_loopback(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|host: IpAddr| host.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_environment(address: &'static str, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        ProxyRoute::of_environment(&Uri::from_static(address), variable).map(|proxy| proxy.uri.to_string())
    }

    #[test]
    fn the_environment_names_a_proxy() {
        let proxy = Some("http://proxy:3128/".to_owned());
        for name in ["HTTPS_PROXY", "https_proxy"] {
            assert_eq!(of_environment("https://api:6443", &[(name, "proxy:3128")]), proxy);
            assert_eq!(of_environment("http://api:6443", &[(name, "proxy:3128")]), None);
        }
        assert_eq!(
            of_environment("https://api", &[("HTTPS_PROXY", ""), ("https_proxy", "http://proxy:3128")]),
            proxy
        );
    }

    #[test]
    fn the_environment_excepts_some_addresses() {
        for (address, excepted) in [
            ("https://localhost:6443", ""),
            ("https://127.1.2.3", ""),
            ("https://[::1]:6443", ""),
            ("https://10.0.0.1:6443", "*"),
            ("https://10.0.0.1:6443", "10.0.0.0/8"),
            ("https://10.0.0.1:6443", "a,10.0.0.1:6443,"),
            ("https://10.0.0.1", "10.0.0.1:443"),
            ("https://api.example.com", " example.com"),
            ("https://api.example.com", ".example.com,,"),
        ] {
            let proxy = of_environment(address, &[("HTTPS_PROXY", "http://proxy"), ("NO_PROXY", excepted)]);
            assert_eq!(proxy, None, "{address} {excepted}");
        }
        for excepted in ["10.0.0.0/33", "10.0.0.1:6444", "0.0.1"] {
            let proxy = of_environment(
                "https://10.0.0.1:6443",
                &[("HTTPS_PROXY", "http://proxy"), ("NO_PROXY", excepted)],
            );
            assert!(proxy.is_some(), "{excepted}");
        }
    }

    #[test]
    fn a_kubeconfig_names_a_proxy_by_its_whole_url() {
        for url in ["http://proxy:3128", "https://user:pass@proxy", "socks5://user:pass@proxy:1080"] {
            let proxy = ProxyRoute::parse(url).unwrap();
            assert!(
                !proxy.uri.to_string().contains("pass") && url.starts_with(proxy.uri.scheme_str().unwrap())
            );
        }
        for url in ["proxy:3128", "socks5h://proxy", "socks4://proxy", "ftp://proxy", "http://"] {
            assert!(ProxyRoute::parse(url).is_none(), "{url}");
        }
    }
}
