//! The address of an API server, as a kubeconfig's `server` has it.

use http::{Uri, uri::Authority};

/// Reads a URL, or a host with or without a port: client-go takes that for `http`. A path stays, what else
/// there is is dropped, user and password too.
pub(super) fn parse(server: &str) -> Option<Uri> {
    let has_scheme = server.contains("://");
    let url: Uri = if has_scheme { server.parse() } else { format!("http://{server}").parse() }.ok()?;
    let scheme = url.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = url.authority()?.as_str();
    let authority: Authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host).parse().ok()?;
    let is_complete =
        !authority.host().is_empty() && (authority.port_u16().is_some() || authority.host() == authority);
    let path: String =
        url.path().split('/').filter(|part| !part.is_empty()).flat_map(|part| ["/", part]).collect();
    if !is_complete || (!has_scheme && !path.is_empty()) {
        return None;
    }
    let path = if path.is_empty() { "/".to_owned() } else { path };
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_kubectl_reads_it() {
        for (server, address) in [
            ("localhost:6443", "http://localhost:6443/"),
            ("10.0.0.1", "http://10.0.0.1/"),
            ("[::1]:6443/", "http://[::1]:6443/"),
            ("https://api", "https://api/"),
            ("HTTPS://API:6443/", "https://API:6443/"),
            ("https://[fd00::1]", "https://[fd00::1]/"),
            ("https://api//k8s/clusters/c-1/?x=1#y", "https://api/k8s/clusters/c-1"),
            ("https://user:secret@api:6443", "https://api:6443/"),
        ] {
            assert_eq!(parse(server).map(|uri| uri.to_string()).as_deref(), Some(address), "{server}");
        }
    }

    #[test]
    fn what_kubectl_refuses_is_no_address() {
        for server in [
            "localhost:6443/prefix",
            "https://api:port",
            "https://api:",
            "https://",
            "https://:6443",
            "ftp://api",
            "unix:///var/run/api.sock",
            " https://api",
            "https://api ",
            "a b",
        ] {
            assert_eq!(parse(server), None, "{server}");
        }
    }
}
