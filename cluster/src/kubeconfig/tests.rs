//! Does a kubeconfig lead where kubectl goes with it? `kubectl.yaml` holds kubectl's answers.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use super::read;
use crate::{access::ClusterAccess, connect::existing_files, plugin::PROCESSES, yaml::first_document};

/// A credential plugin that tells what it is told, and prints a token.
const PLUGIN: &str = r#"#!/bin/sh
printf '%s' "$KUBERNETES_EXEC_INFO" > "${0%/*}/info"
printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"from-plugin%s"}}\n' "$1$EXTRA"
"#;

/// A certificate and its key, where it doesn't matter whose.
struct Certificate {
    pem: String,
    key: String,
}

impl Certificate {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["client".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { pem: certificate.pem(), key: key.serialize_pem() }
    }

    /// Returns a text with what its placeholders stand for.
    fn fill(&self, text: &str, folder: &Path) -> String {
        let lines = |indent: &str, text: &str| {
            text.as_bytes().chunks(64).fold(String::new(), |mut lines, line| {
                writeln!(lines, "{indent}{}", String::from_utf8_lossy(line)).unwrap();
                lines
            })
        };
        let (pem, key) = (STANDARD.encode(&self.pem), STANDARD.encode(&self.key));
        let json = |text: &str| Value::from(text).to_string();
        [
            ("@PLUGIN@", PLUGIN),
            ("@PLUGIN_V1BETA1@", &PLUGIN.replace("/v1\"", "/v1beta1\"")),
            ("@DIR@", folder.to_str().unwrap()),
            ("@CA@", &pem),
            ("@CERT@", &pem),
            ("@KEY@", &key),
            ("    @CA_LINES@\n", &lines("      ", &pem)),
            ("    @CERT_LINES@\n", &lines("      ", &pem)),
            ("    @KEY_LINES@\n", &lines("      ", &key)),
            ("@CA_UNPADDED@", &STANDARD.encode("a")[..2]),
            ("@CAPEM@", &self.pem),
            ("@CERTPEM@", &self.pem),
            ("@KEYPEM@", &self.key),
            ("@CERTJSON@", &json(&self.pem)),
            ("@KEYJSON@", &json(&self.key)),
        ]
        .iter()
        .fold(text.to_owned(), |text, (placeholder, meaning)| text.replace(placeholder, meaning))
    }
}

/// One case of the table.
struct KubeconfigCase<'a>(&'a Value);

impl KubeconfigCase<'_> {
    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(|value| value.as_str().unwrap())
    }

    /// Returns the kubeconfig.
    fn config(&self) -> String {
        let of = |field, default| self.text(field).unwrap_or(default);
        let indented = |text: &str| {
            text.split_inclusive('\n').flat_map(|line| ["    ", line]).chain(["\n"]).collect::<String>()
        };
        let (top, name) = (of("top", "apiVersion: v1\nkind: Config\n"), of("name", "a"));
        let config = format!(
            "{top}current-context: {name}\nclusters:\n- name: {name}\n  cluster:\n    server: \
             {}\n{}users:\n- name: {name}\n  user:\n{}contexts:\n- name: {name}\n  context:\n    cluster: \
             {name}\n    user: {name}\n{}",
            of("server", "https://127.0.0.1:6443"),
            indented(of("cluster", "certificate-authority-data: @CA@")),
            indented(of("user", "token: secret")),
            indented(of("context", "")),
        );
        let pairs =
            self.0.get("replace").map(|pairs| pairs.as_array().unwrap().as_slice()).unwrap_or_default();
        pairs
            .iter()
            .fold(config, |config, pair| config.replace(pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
    }

    /// Writes all files that belong to it, and returns those of `$KUBECONFIG`.
    fn write(&self, folder: &Path, certificate: &Certificate) -> Vec<PathBuf> {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, certificate.fill(&text.replace("@CONFIG@", &self.config()), folder)).unwrap();
            if name.ends_with("plugin") {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        };
        write("plugin", PLUGIN);
        write(self.text("at").unwrap_or("config"), "@CONFIG@");
        for (name, text) in self.0.get("files").and_then(Value::as_object).into_iter().flatten() {
            write(name, text.as_str().unwrap());
        }
        existing_files(certificate.fill(self.text("kubeconfig").unwrap_or("@DIR@/config"), folder).as_ref())
    }

    /// Returns where the kubeconfig leads and what is sent there, or what is wrong with it.
    async fn answer(&self, files: &[PathBuf]) -> String {
        let variable = |name: &str| Some(self.0.get("env")?.get(name)?.as_str()?.to_owned());
        let access = match read(files, None, variable) {
            Ok(access) => access,
            Err(error) => return error.to_string(),
        };
        match access.credentials.get().await {
            Ok(granted) => sent(&access, granted.identity.is_some(), granted.authorization.as_ref()),
            Err(error) => error.to_string(),
        }
    }
}

/// Returns in the words of the table what is sent.
fn sent(access: &ClusterAccess, certificate: bool, authorization: Option<&http::HeaderValue>) -> String {
    let address = &access.address;
    let mut words =
        vec![address.to_string().trim_end_matches('/').to_owned(), format!("namespace={}", access.namespace)];
    let host = address.host().unwrap();
    let name = access.server_name.as_ref().map(|name| name.to_str().into_owned());
    let name = name.or((address.scheme_str() == Some("https")).then(|| host.to_owned()));
    // Addresses are not sent as the server's name.
    words.extend(
        name.filter(|name| name.parse::<std::net::IpAddr>().is_err()).map(|name| format!("sni={name}")),
    );
    if let Some(proxy) = &access.proxy {
        words.push(format!("proxy={}", proxy.uri.scheme_str().unwrap()));
        let header = proxy.authorization.as_ref().map(|header| header.to_str().unwrap());
        words.extend(header.map(|header| format!("proxy-authorization={header}")));
    }
    if certificate || access.identity.is_some() {
        words.push("certificate".to_owned());
    }
    if let Some(header) = authorization {
        let header = header.to_str().unwrap();
        words.push(match header.strip_prefix("Basic ") {
            Some(basic) => {
                format!("authorization=basic {}", String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap())
            }
            None => format!("authorization={}", header.replacen("Bearer", "bearer", 1)),
        });
    }
    let mut impersonation: Vec<_> = access
        .impersonation
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    impersonation.sort();
    words.extend(impersonation);
    words.iter().map(|word| word.replace(' ', "_")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_kubeconfig_leads_where_kubectl_goes_with_it() {
    let _alone = PROCESSES.lock().await;
    let certificate = Certificate::new();
    let table = first_document(include_bytes!("tests/kubectl.yaml")).unwrap();
    let mut wrong = String::new();
    for case in table.as_array().unwrap() {
        let case = KubeconfigCase(case);
        let folder = TempDir::new().unwrap();
        let files = case.write(folder.path(), &certificate);
        let answer = case.answer(&files).await;
        let is_right = match (case.text("ours"), case.text("kubectl")) {
            (Some(ours), _) if ours.starts_with("http") => answer == ours,
            (Some(ours), _) => answer.contains(ours) && !answer.starts_with("http"),
            (None, Some(kubectl)) => answer == kubectl,
            (None, None) => false,
        };
        let info = fs::read(folder.path().join("info")).unwrap_or_default();
        let expected = case.0.get("info").map(|info| certificate.fill(&info.to_string(), folder.path()));
        let is_told = expected.is_none_or(|expected| {
            first_document(&info).unwrap() == first_document(expected.as_bytes()).unwrap()
        });
        assert!(answer.starts_with("http") || !answer.contains("secret"), "a secret is shown: {answer}");
        if !is_right || !is_told {
            writeln!(wrong, "{}: {answer}", case.text("case").unwrap()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
