//! Where a cluster is and how it is spoken to, whatever says so.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri};
use rustls::pki_types::ServerName;
use tls::{ClientIdentity, Trust};

use crate::{credentials::Credentials, proxy::ProxyRoute};

/// Where a cluster is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSite {
    /// The API server's address, without what is secret in it.
    pub api_server: String,
    /// What named it: `context prod`, or the pod's service account.
    pub found_by: String,
}

impl ClusterAccess {
    /// Returns where the cluster is, for people.
    pub(crate) fn site(&self) -> ClusterSite {
        let address = &self.address;
        let port = address.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = address.host().unwrap_or_default();
        let api_server = format!("{}://{host}{port}", address.scheme_str().unwrap_or("https"));
        ClusterSite { api_server, found_by: self.found_by.clone() }
    }
}

/// Where a cluster is and how it is spoken to. Two that are equal lead to the same answers.
#[derive(PartialEq)]
pub(crate) struct ClusterAccess {
    /// The API server: scheme, host, perhaps a port, and what each path begins with, without a slash at its
    /// end.
    pub address: Uri,
    /// Which API servers are trusted.
    pub trust: Trust,
    /// The name that the API server's certificate has to have, if it isn't the address's.
    pub server_name: Option<ServerName<'static>>,
    /// What stands between.
    pub proxy: Option<ProxyRoute>,
    /// What named it, for people: `context prod`.
    pub found_by: String,
    /// The namespace that kubectl would use.
    pub namespace: String,
    /// The client certificate.
    pub identity: Option<Arc<ClientIdentity>>,
    /// Where the `Authorization` header comes from.
    pub credentials: Arc<Credentials>,
    /// Whom to act as, as headers of each request.
    pub impersonation: Vec<(HeaderName, HeaderValue)>,
}
