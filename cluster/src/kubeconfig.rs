//! Reads kubeconfigs as kubectl does (client-go's `clientcmd`).
//!
//! | what | what kubectl does | what we do |
//! |---|---|---|
//! | several files in `$KUBECONFIG` | of entries with one name, the first counts, whole; so does the first `current-context`; files that don't exist are passed over | the same |
//! | absent, null, empty | all the same: it is not there | the same, for every field |
//! | another type, such as a number for a text | refuses the file | refuses it if the field is used |
//! | unknown fields, entries that are not used | not judged, if their types are right | not judged |
//! | a repeated key; several documents | the last; the first | the same |
//! | two entries of one name in one file | refuses the file | refuses it if the name is used |
//! | relative paths | from the folder of the file that they stand in; a command without `/` is looked for in `$PATH` | the same |
//! | no `current-context`, context, cluster or `server` | asks `localhost:8080` | says so |
//! | `server` without a scheme | `http://`, and no path | the same |
//! | `server` with a query, fragment or double slashes | drops them | the same |
//! | credentials for `http://` | not sent, not even asked for; `as` is | the same, but to this very machine they are sent |
//! | no credentials at all, for `https://` | asks for a user and a password | goes on without |
//! | `FIELD-data` and `FIELD` | the data; the file must exist nevertheless | the data |
//! | a bundle with a certificate that can't be read | passes over it | the same |
//! | `insecure-skip-tls-verify` and a CA | refuses it | the same |
//! | `tokenFile` and `token` | the file; the token if the file can't be read | the same |
//! | white space around a token | trims that of a file | trims it |
//! | `username` and a token | refuses it | the same |
//! | `exec` beside a token, user or client certificate | does not run it | the same |
//! | `exec` | see `plugin` | the same, but never interactive, and ended after a minute |
//! | `auth-provider` | `oidc` alone; refreshes its token | `oidc` alone; its `id-token` |
//! | `as-uid`, `as-groups`, `as-user-extra` without `as` | refuses it | the same |
//! | `proxy-url` | `http`, `https`, `socks5`; else `$HTTPS_PROXY` and `$NO_PROXY` | the same; plain `http` through a proxy by CONNECT too |
//! | `disable-compression`, `preferences`, `extensions` | of no matter here, but the last may be meant for a plugin | the same |
//!
//! `kubeconfig/tests.rs` holds what kubectl does with some of each kind.

mod address;
mod error;
mod fields;
#[cfg(test)]
mod tests;
mod user;

use std::{fs, path::PathBuf, sync::Arc};

use http::uri::Scheme;
use rustls::pki_types::ServerName;
use serde_json::{Map, Value};
use tls::Trust;

pub use self::error::{KubeconfigError, KubeconfigFault};
use self::fields::Fields;
use crate::{
    access::ClusterAccess,
    credentials::Credentials,
    proxy::{ProxyRoute, is_loopback},
    yaml::first_document,
};

/// A file, and what stands in it.
struct Document {
    file: PathBuf,
    fields: Map<String, Value>,
}

/// Returns what this context of these files leads to, without one their current context. `variable` gives the
/// environment's variables.
///
/// # Errors
///
/// They can't be read, or what they say can't be used.
pub(crate) fn read(
    files: &[PathBuf],
    context: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ClusterAccess, KubeconfigError> {
    let documents = files.iter().map(Document::read).collect::<Result<Vec<_>, _>>()?;
    let all = || files.iter().map(PathBuf::as_path);
    let by = if context.is_some() { "--context" } else { "current-context" };
    let mut current = context;
    for document in &documents {
        current = current.or(document.root().text("current-context")?);
    }
    let current = current.ok_or_else(|| KubeconfigFault::NoCurrentContext.of_files(all()))?;
    let find = |list, kind, by: &str, name: &str| {
        entry(&documents, list, kind, name)?.ok_or_else(|| {
            KubeconfigFault::NoSuchEntry { by: by.to_owned(), kind, name: name.to_owned() }.of_files(all())
        })
    };
    let context = find("contexts", "context", by, current)?;
    let named = |kind| context.text(kind).map(Option::unwrap_or_default);
    let cluster = find("clusters", "cluster", &context.full_name("cluster"), named("cluster")?)?;
    let server = cluster.required("server")?;
    let address = address::parse(server)
        .ok_or_else(|| cluster.invalid("server", "a URL (http or https), or HOST:PORT"))?;
    let is_https = address.scheme() == Some(&Scheme::HTTPS);
    let is_confidential = is_https || is_loopback(&address);
    let user = match named("user")? {
        name if is_confidential && !name.is_empty() => {
            Some(find("users", "user", &context.full_name("user"), name)?)
        }
        name => entry(&documents, "users", "user", name)?,
    };
    let (identity, credentials) = match &user {
        Some(user) if is_confidential => user::credentials(user, &cluster)?,
        _ => (None, Credentials::None),
    };
    let proxy = match cluster.text("proxy-url")? {
        Some(url) => Some(ProxyRoute::parse(url).ok_or_else(|| {
            cluster.invalid("proxy-url", "a URL that begins with http://, https:// or socks5://")
        })?),
        None => ProxyRoute::of_environment(&address, variable),
    };
    Ok(ClusterAccess {
        trust: if is_https { trust(&cluster)? } else { Trust::System },
        server_name: if is_https { server_name(&cluster)? } else { None },
        address,
        proxy,
        found_by: format!("context {current}"),
        namespace: context.text("namespace")?.unwrap_or("default").to_owned(),
        identity: identity.map(Arc::new),
        credentials: Arc::new(credentials),
        impersonation: user.as_ref().map(user::impersonation).transpose()?.unwrap_or_default(),
    })
}

impl Document {
    fn read(file: &PathBuf) -> Result<Self, KubeconfigError> {
        let bytes = fs::read(file).map_err(|error| KubeconfigFault::Unreadable(error).of(file))?;
        let document = first_document(&bytes).map_err(|error| KubeconfigFault::Yaml(error).of(file))?;
        let fields = match document {
            Value::Null => Map::new(),
            Value::Object(fields) => fields,
            _ => return Err(KubeconfigFault::WrongKind.of(file)),
        };
        let document = Self { file: file.clone(), fields };
        let root = document.root();
        let is = |field, expected| Ok(root.text(field)?.is_none_or(|value| value == expected));
        if is("kind", "Config")? && is("apiVersion", "v1")? {
            Ok(document)
        } else {
            Err(KubeconfigFault::WrongKind.of(file))
        }
    }

    fn root(&self) -> Fields<'_> {
        Fields::root(&self.file, &self.fields)
    }
}

/// Returns what stands under a name, in the first file that has it.
fn entry<'a>(
    documents: &'a [Document],
    list: &'static str,
    kind: &'static str,
    name: &str,
) -> Result<Option<Fields<'a>>, KubeconfigError> {
    for document in documents {
        let root = document.root();
        let is_it = |entry: &&'a Value| entry.get("name").and_then(Value::as_str).unwrap_or_default() == name;
        let mut named = root.list(list)?.iter().filter(is_it);
        let Some(entry) = named.next() else { continue };
        if named.next().is_some() {
            return Err(root.wrong(KubeconfigFault::Ambiguous { list, name: name.to_owned() }));
        }
        let value = entry.get(kind).unwrap_or(&Value::Null);
        return Fields::new(&document.file, format!("{list}[{name}].{kind}"), value).map(Some);
    }
    Ok(None)
}

fn trust(cluster: &Fields<'_>) -> Result<Trust, KubeconfigError> {
    let authorities = cluster.content("certificate-authority")?.filter(|pem| !pem.is_empty());
    let is_insecure = cluster.flag("insecure-skip-tls-verify")?;
    match authorities {
        Some(_) if is_insecure => {
            Err(cluster.contradiction("insecure-skip-tls-verify", "certificate-authority"))
        }
        Some(pem) => Trust::from_pem(&pem).map_err(|error| {
            cluster.wrong(KubeconfigFault::NoCertificate {
                field: cluster.full_name("certificate-authority"),
                error,
            })
        }),
        None if is_insecure => Ok(Trust::Anyone),
        None => Ok(Trust::System),
    }
}

fn server_name(cluster: &Fields<'_>) -> Result<Option<ServerName<'static>>, KubeconfigError> {
    let name = cluster.text("tls-server-name")?.map(|name| ServerName::try_from(name.to_owned()));
    name.transpose().map_err(|_| cluster.invalid("tls-server-name", "the name of a host"))
}
