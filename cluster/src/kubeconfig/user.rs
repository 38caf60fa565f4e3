//! Who asks: the credentials of a kubeconfig's user, and whom it acts as.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use tls::ClientIdentity;

use super::{
    error::{KubeconfigError, KubeconfigFault},
    fields::Fields,
};
use crate::{
    authorization::{TokenError, basic, bearer},
    credentials::{Credentials, TokenFile},
    plugin::{Plugin, PluginCommand},
};

/// The versions of what a credential plugin prints.
const PLUGIN_VERSIONS: [&str; 2] =
    ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// The extension of a cluster that is meant for credential plugins.
const PLUGIN_EXTENSION: &str = "client.authentication.k8s.io/exec";

/// Returns the client certificate of a user, and where the `Authorization` header comes from.
///
/// # Errors
///
/// There is more than one way to log in, one that nobody has any more, or a file can't be read.
pub(super) fn credentials(
    user: &Fields<'_>,
    cluster: &Fields<'_>,
) -> Result<(Option<ClientIdentity>, Credentials), KubeconfigError> {
    let identity = identity(user)?;
    let (plugin, provider) = (user.fields("exec")?, user.fields("auth-provider")?);
    let (name, token, file) = (user.text("username")?, user.text("token")?, user.path("tokenFile")?);
    if plugin.is_some() && provider.is_some() {
        return Err(user.contradiction("exec", "auth-provider"));
    }
    if name.is_some() && (token.is_some() || file.is_some()) {
        return Err(user.contradiction("username", if token.is_some() { "token" } else { "tokenFile" }));
    }
    let wrong = |field: &str, error: TokenError| {
        user.wrong(KubeconfigFault::Token { field: user.full_name(field), error })
    };
    let credentials = if let Some(provider) = provider {
        Credentials::Fixed(provider_token(&provider)?)
    } else if let Some(name) = name {
        let password = user.text("password")?.unwrap_or_default();
        Credentials::Fixed(basic(name, password).map_err(|error| wrong("password", error))?)
    } else if let Some(file) = file {
        match (TokenFile::open(file), token) {
            (Ok(file), _) => Credentials::TokenFile(file),
            (Err(_), Some(token)) => {
                Credentials::Fixed(bearer(token).map_err(|error| wrong("token", error))?)
            }
            (Err(error), None) => return Err(wrong("tokenFile", error)),
        }
    } else if let Some(token) = token {
        Credentials::Fixed(bearer(token).map_err(|error| wrong("token", error))?)
    } else if let Some(plugin) = plugin.filter(|_| identity.is_none()) {
        Credentials::Plugin(Plugin::new(command(&plugin, cluster)?))
    } else {
        Credentials::None
    };
    Ok((identity, credentials))
}

fn identity(user: &Fields<'_>) -> Result<Option<ClientIdentity>, KubeconfigError> {
    // A key without a certificate is of no matter.
    let Some(certificate) = user.content("client-certificate")? else { return Ok(None) };
    let Some(key) = user.content("client-key")? else {
        return Err(user.wrong(KubeconfigFault::Incomplete {
            field: user.full_name("client-certificate"),
            needed: "client-key",
        }));
    };
    let identity = ClientIdentity::from_pem(&certificate, &key);
    identity
        .map(Some)
        .map_err(|error| user.wrong(KubeconfigFault::Identity { entry: user.place().to_owned(), error }))
}

/// Returns the token of the one auth-provider that kubectl still has.
fn provider_token(provider: &Fields<'_>) -> Result<HeaderValue, KubeconfigError> {
    let name = provider.text("name")?.unwrap_or_default();
    if name != "oidc" {
        let hint = match name {
            "gcp" => ": gke-gcloud-auth-plugin",
            "azure" => ": kubelogin",
            _ => "",
        };
        let (field, name) = (provider.place().to_owned(), name.to_owned());
        return Err(provider.wrong(KubeconfigFault::RemovedProvider { field, name, hint }));
    }
    let config = provider.fields("config")?;
    let config = config.as_ref().unwrap_or(provider);
    let wrong = |error| provider.wrong(KubeconfigFault::Token { field: config.full_name("id-token"), error });
    bearer(config.required("id-token")?).map_err(wrong)
}

/// Returns how a credential plugin is run.
fn command(plugin: &Fields<'_>, cluster: &Fields<'_>) -> Result<PluginCommand, KubeconfigError> {
    let command = plugin.required("command")?;
    let is_path = command.contains('/');
    let program =
        if is_path { plugin.resolve(command).to_string_lossy().into_owned() } else { command.to_owned() };
    let version = plugin.required("apiVersion")?;
    if !PLUGIN_VERSIONS.contains(&version) {
        return Err(plugin.invalid("apiVersion", "client.authentication.k8s.io/v1 or v1beta1"));
    }
    let is_beta = version.ends_with("beta1");
    match plugin.text("interactiveMode")? {
        Some("Never" | "IfAvailable") => {}
        None if is_beta => {}
        None => return Err(plugin.missing("interactiveMode")),
        Some("Always") => {
            return Err(
                plugin.invalid("interactiveMode", "Never or IfAvailable: nobody is there to be asked")
            );
        }
        Some(_) => return Err(plugin.invalid("interactiveMode", "Never, IfAvailable or Always")),
    }
    let mut spec = json!({"interactive": false});
    if plugin.flag("provideClusterInfo")? {
        spec["cluster"] = cluster_info(cluster)?;
    }
    let info = json!({"kind": "ExecCredential", "apiVersion": version, "spec": spec}).to_string();
    let mut environment = Vec::new();
    for variable in plugin.mappings("env")? {
        if let Some(name) = variable.text("name")? {
            environment.push((name.to_owned(), variable.text("value")?.unwrap_or_default().to_owned()));
        }
    }
    Ok(PluginCommand {
        program,
        arguments: plugin.texts("args")?,
        environment,
        api_version: version.to_owned(),
        info,
        install_hint: plugin.text("installHint")?.map(str::to_owned),
    })
}

/// Returns what a plugin is told of the cluster.
fn cluster_info(cluster: &Fields<'_>) -> Result<Value, KubeconfigError> {
    let mut info = Map::new();
    for field in ["server", "tls-server-name", "proxy-url"] {
        info.extend(cluster.text(field)?.map(|text| (field.to_owned(), text.into())));
    }
    for field in ["insecure-skip-tls-verify", "disable-compression"] {
        info.extend(cluster.flag(field)?.then(|| (field.to_owned(), true.into())));
    }
    let authorities = cluster.content("certificate-authority")?.map(|pem| STANDARD.encode(pem));
    info.extend(authorities.map(|pem| ("certificate-authority-data".to_owned(), pem.into())));
    for extension in cluster.mappings("extensions")? {
        if extension.text("name")? == Some(PLUGIN_EXTENSION) {
            info.extend(extension.value("extension").map(|value| ("config".to_owned(), value.clone())));
        }
    }
    Ok(info.into())
}

/// Returns the headers that say whom a user acts as.
///
/// # Errors
///
/// There is something about them, but not who they are; or a header can't hold it.
pub(super) fn impersonation(user: &Fields<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, KubeconfigError> {
    let mut headers = Vec::new();
    let mut add = |field: &str, name: &str, value: &str| -> Result<(), KubeconfigError> {
        let invalid = || user.invalid(field, "something that a header can hold");
        let name = HeaderName::try_from(name).map_err(|_| invalid())?;
        headers.push((name, HeaderValue::from_str(value).map_err(|_| invalid())?));
        Ok(())
    };
    let acts_as = user.text("as")?;
    if let Some(name) = acts_as {
        add("as", "impersonate-user", name)?;
    }
    if let Some(uid) = user.text("as-uid")? {
        add("as-uid", "impersonate-uid", uid)?;
    }
    for group in user.texts("as-groups")? {
        add("as-groups", "impersonate-group", &group)?;
    }
    if let Some(extra) = user.fields("as-user-extra")? {
        for name in extra.names() {
            for value in extra.texts(name)? {
                add("as-user-extra", &format!("impersonate-extra-{}", escape(name)), &value)?;
            }
        }
    }
    if acts_as.is_none() && !headers.is_empty() {
        let field = user.full_name("as-uid, as-groups or as-user-extra");
        return Err(user.wrong(KubeconfigFault::Incomplete { field, needed: "as" }));
    }
    Ok(headers)
}

/// Escapes what no header's name can hold, and the sign that escapes begin with.
fn escape(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    let escaped = |byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(escaped).collect()
}
