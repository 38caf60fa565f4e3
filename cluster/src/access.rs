//! Where a cluster is and how it is spoken to, whatever says so.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri};
use rustls::pki_types::ServerName;
use tls::{ClientIdentity, Trust};

use crate::{credentials::Credentials, proxy::ProxyRoute};

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
    /// The namespace that kubectl would use.
    pub namespace: String,
    /// The client certificate.
    pub identity: Option<Arc<ClientIdentity>>,
    /// Where the `Authorization` header comes from.
    pub credentials: Arc<Credentials>,
    /// Whom to act as, as headers of each request.
    pub impersonation: Vec<(HeaderName, HeaderValue)>,
}
