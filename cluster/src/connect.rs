//! Finds the cluster as kubectl does: `$KUBECONFIG`, `~/.kube/config`, or in a pod its service account.

use std::{env, ffi::OsStr, path::PathBuf};

use kube::Client;

use crate::{
    access::{ClusterAccess, ClusterSite},
    error::ConnectError,
    kubeconfig,
    renewal::renewing,
    service_account::{self, in_pod},
};

/// Makes a client. It doesn't connect yet, nor run a credential plugin: the API server may come later. What
/// names the cluster is read again when requests fail: see `renewal`.
///
/// # Errors
///
/// Nothing names a cluster, or what names it can't be used.
pub fn connect() -> Result<Client, ConnectError> {
    renewing(|| find(None))
}

/// Makes a client of the cluster that a context of the kubeconfig names, otherwise as [`connect`] does.
///
/// # Errors
///
/// Nothing names that context, or what names it can't be used.
pub fn connect_to(context: String) -> Result<Client, ConnectError> {
    renewing(move || find(Some(&context)))
}

/// Returns the namespace that kubectl would use, or in a pod that of its service account; none where nothing
/// names a cluster.
pub fn current_namespace() -> Option<String> {
    find(None).ok().map(|access| access.namespace)
}

/// Returns where [`connect`] finds the cluster; nothing where nothing names one.
pub fn current_site() -> Option<ClusterSite> {
    find(None).ok().map(|access| access.site())
}

fn find(context: Option<&str>) -> Result<ClusterAccess, ConnectError> {
    match kubeconfig_files() {
        files if !files.is_empty() => Ok(kubeconfig::read(&files, context, |name| env::var(name).ok())?),
        _ if context.is_some() => Err(ConnectError::NoKubeconfig),
        _ if in_pod() => Ok(service_account::read()?),
        _ => Err(ConnectError::NoCluster),
    }
}

/// Returns the files of `$KUBECONFIG`, else the default one if it exists.
fn kubeconfig_files() -> Vec<PathBuf> {
    let named = existing_files(&env::var_os("KUBECONFIG").unwrap_or_default());
    if !named.is_empty() {
        return named;
    }
    let default = env::home_dir().map(|home| home.join(".kube/config"));
    default.into_iter().filter(|path| path.exists()).collect()
}

/// Returns the files that a value of `$KUBECONFIG` names. Those that don't exist are passed over, unless none
/// does.
pub(crate) fn existing_files(value: &OsStr) -> Vec<PathBuf> {
    let named: Vec<PathBuf> = env::split_paths(value).filter(|path| !path.as_os_str().is_empty()).collect();
    let existing: Vec<PathBuf> = named.iter().filter(|path| path.exists()).cloned().collect();
    if existing.is_empty() { named } else { existing }
}
