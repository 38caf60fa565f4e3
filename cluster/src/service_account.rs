//! The cluster that this process runs in, as its Pod's service account.

use std::{env, path::PathBuf, sync::Arc};

use kube::{Config, config::InClusterError};
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tls::Trust;

use crate::{
    access::ClusterAccess,
    authorization::TokenError,
    credentials::{Credentials, TokenFile},
};

/// Why a Pod's service account can't be used.
#[derive(Debug, Error)]
pub enum ServiceAccountError {
    /// Its files or variables are missing, or can't be read.
    #[error(transparent)]
    Incomplete(#[from] InClusterError),
    /// There is no token, or none that is one.
    #[error("its token: {0}")]
    Token(#[from] TokenError),
}

/// Returns whether this process runs in a pod.
pub fn in_pod() -> bool {
    env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Reads the service account. Requests go straight to the API server, whatever proxy the environment names.
///
/// # Errors
///
/// It can't be read.
pub(crate) fn read() -> Result<ClusterAccess, ServiceAccountError> {
    let config = Config::incluster()?;
    let authorities = config.root_cert.unwrap_or_default().into_iter().map(CertificateDer::from).collect();
    let token = config.auth_info.token_file.map(|path| TokenFile::open(PathBuf::from(path))).transpose()?;
    Ok(ClusterAccess {
        address: config.cluster_url,
        trust: Trust::Certificates(authorities),
        server_name: None,
        proxy: None,
        found_by: format!("service account in namespace {}", config.default_namespace),
        namespace: config.default_namespace,
        identity: None,
        credentials: Arc::new(token.map_or(Credentials::None, Credentials::TokenFile)),
        impersonation: Vec::new(),
    })
}
