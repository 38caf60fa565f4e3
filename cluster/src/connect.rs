//! Finds the cluster as kubectl does: `$KUBECONFIG`, `~/.kube/config`, or in a pod its service
//! account. Comes out: a client, or one sentence that says what is missing and what to do.

use std::{env, path::PathBuf, time::Duration};

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use kube::{
    Client, Config,
    config::{Kubeconfig, KubeconfigError, NamedContext},
};
use thiserror::Error;

use crate::{client::client, error::without_secrets, renewal::renewing};

/// How long it may take to connect to the API server.
const CONNECT: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nothing says where the cluster is.
    #[error(
        "no cluster to be found: $KUBECONFIG isn't set, ~/.kube/config doesn't exist, and this is no pod with a \
         service account. Set KUBECONFIG to the path of a kubeconfig"
    )]
    NoCluster,
    /// A kubeconfig can't be used.
    #[error("can't use the kubeconfig {files}: {reason}. Mend it, or set KUBECONFIG to the path of another")]
    Kubeconfig {
        /// The file, or all of them.
        files: String,
        /// What is wrong.
        reason: String,
    },
    /// The pod's service account can't be used.
    #[error("can't use the service account of this pod: {0}. Is automountServiceAccountToken true?")]
    ServiceAccount(String),
    /// No client can be made.
    #[error("can't prepare the connection to the API server at {address}: {reason}")]
    Client {
        /// The API server.
        address: String,
        /// What is wrong.
        reason: String,
    },
}

/// Makes a client. It doesn't connect yet: the API server may come later. What names the cluster is
/// read again when requests fail: see `renewal`.
///
/// To be called within a runtime; it blocks for as long as a kubeconfig's credential plugin takes.
///
/// # Errors
///
/// If nothing names a cluster, or what names it can't be used.
pub fn connect() -> Result<Client, ConnectError> {
    renewing(|| {
        let (mut config, proxy) = config()?;
        config.connect_timeout = Some(CONNECT);
        client(&config, proxy.as_ref()).map_err(|error| ConnectError::Client {
            address: config.cluster_url.to_string(),
            reason: without_secrets(&error),
        })
    })
}

/// The namespace that kubectl would use, or in a pod that of its service account; absent where nothing
/// names a cluster.
pub fn current_namespace() -> Option<String> {
    config().ok().map(|(config, _)| config.default_namespace)
}

/// Where the cluster is, and through which proxy.
fn config() -> Result<(Config, Option<Intercept>), ConnectError> {
    match kubeconfig_files() {
        files if !files.is_empty() => from_kubeconfig(&files),
        _ if in_pod() => {
            let config = Config::incluster();
            let config = config.map_err(|error| ConnectError::ServiceAccount(without_secrets(&error)))?;
            Ok((config, None))
        }
        _ => Err(ConnectError::NoCluster),
    }
}

/// Whether this process runs in a pod.
pub fn in_pod() -> bool {
    env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// The files of `$KUBECONFIG`, else the default one if it exists. Of several, those that don't
/// exist are passed over, as kubectl does.
fn kubeconfig_files() -> Vec<PathBuf> {
    let named = env::var_os("KUBECONFIG").unwrap_or_default();
    let named: Vec<PathBuf> = env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect();
    if !named.is_empty() {
        let existing: Vec<PathBuf> = named.iter().filter(|path| path.exists()).cloned().collect();
        return if existing.is_empty() { named } else { existing };
    }
    let default = env::home_dir().map(|home| home.join(".kube/config"));
    default.into_iter().filter(|path| path.exists()).collect()
}

fn from_kubeconfig(files: &[PathBuf]) -> Result<(Config, Option<Intercept>), ConnectError> {
    let mut merged = Kubeconfig::default();
    for file in files {
        let wrong = |error| wrong_kubeconfig(file.display().to_string(), &error);
        merged = Kubeconfig::read_from(file).and_then(|next| merged.merge(next)).map_err(wrong)?;
    }
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let proxies = match proxy_url(&merged) {
        Some(url) => Matcher::builder().all(url).build(),
        None => Matcher::from_env(),
    };
    let config = Config::try_from(merged).map_err(|error| wrong_kubeconfig(names.join(", "), &error))?;
    let proxy = proxies.intercept(&config.cluster_url);
    Ok((config, proxy))
}

/// The proxy that the current context's cluster names.
fn proxy_url(kubeconfig: &Kubeconfig) -> Option<String> {
    let named = |context: &&NamedContext| Some(&context.name) == kubeconfig.current_context.as_ref();
    let context = kubeconfig.contexts.iter().find(named)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster)?;
    cluster.cluster.as_ref()?.proxy_url.clone().filter(|url| !url.is_empty())
}

fn wrong_kubeconfig(files: String, error: &KubeconfigError) -> ConnectError {
    let reason = match error {
        // The parser would show the lines around the place, and tokens stand in them.
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => format!("it is not valid at line {}, column {}", place.line(), place.column()),
            None => "it is not valid YAML, or not a kubeconfig".to_owned(),
        },
        KubeconfigError::ReadConfig(error, _) => format!("can't read it: {error}"),
        KubeconfigError::CurrentContextNotSet => "it names no current-context".to_owned(),
        error => without_secrets(error),
    };
    ConnectError::Kubeconfig { files, reason }
}
