//! What a credential plugin prints: an `ExecCredential`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tls::ClientIdentity;

use super::{PluginGrant, UselessAnswer};
use crate::{
    authorization::{Granted, bearer},
    yaml::first_document,
};

/// Reads what a plugin prints: JSON, or YAML.
///
/// # Errors
///
/// It is no `ExecCredential` of this version, or there are no credentials in it.
pub(super) fn read(output: &[u8], api_version: &str) -> Result<PluginGrant, UselessAnswer> {
    let credential = first_document(output).map_err(|_| UselessAnswer::NoCredential)?;
    let field = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    match field(&credential, "apiVersion") {
        Some(version) if version == api_version => {}
        Some(_) => return Err(UselessAnswer::AnotherVersion),
        None => return Err(UselessAnswer::NoCredential),
    }
    let status = credential.get("status").unwrap_or(&Value::Null);
    let authorization = field(status, "token").map(|token| bearer(&token)).transpose()?;
    let identity = match (field(status, "clientCertificateData"), field(status, "clientKeyData")) {
        (Some(certificate), Some(key)) => {
            Some(Arc::new(ClientIdentity::from_pem(certificate.as_bytes(), key.as_bytes())?))
        }
        (None, None) if authorization.is_some() => None,
        _ => return Err(UselessAnswer::Nothing),
    };
    let expires = field(status, "expirationTimestamp").map(|time| time.parse::<Timestamp>());
    let expires = expires.transpose().map_err(|_| UselessAnswer::Expiry)?;
    Ok(PluginGrant { granted: Granted { authorization, identity }, expires })
}
