//! What is wrong with a kubeconfig.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;
use tls::{IdentityError, NoCertificate};

use crate::{authorization::TokenError, yaml::YamlError};

/// What is wrong with a kubeconfig, and in which file. Shows no secret.
#[derive(Debug, Error)]
#[error("can't use the kubeconfig {files}: {fault}. Mend it, or set KUBECONFIG to the path of another")]
pub struct KubeconfigError {
    files: String,
    #[source]
    fault: KubeconfigFault,
}

/// What is wrong with a kubeconfig.
#[derive(Debug, Error)]
pub enum KubeconfigFault {
    /// There is no such file, or it can't be read.
    #[error("can't read it: {0}")]
    Unreadable(io::Error),
    /// The file is not YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// The file is an object of another kind.
    #[error("it is not a kubeconfig: its kind is not Config, or its apiVersion not v1")]
    WrongKind,
    /// A field has another type, or a value that nobody can use.
    #[error("{field} is not {expected}")]
    Invalid {
        /// Where it stands.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
    /// No context is chosen.
    #[error("it names no current-context. Choose one by `kubectl config use-context NAME`")]
    NoCurrentContext,
    /// What is named is not there.
    #[error("{by} names the {kind} {name:?}, which is not in it")]
    NoSuchEntry {
        /// Who names it.
        by: String,
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A name stands for two things.
    #[error("two of its {list} have the name {name:?}")]
    Ambiguous {
        /// Of which list.
        list: &'static str,
        /// The name.
        name: String,
    },
    /// A field that has to be there isn't.
    #[error("{field} is missing")]
    Missing {
        /// Where it should stand.
        field: String,
    },
    /// Two fields exclude each other.
    #[error("{entry} has both {one} and {other}, of which only one can hold")]
    Contradiction {
        /// Where they stand.
        entry: String,
        /// The first.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A field needs another.
    #[error("{field} is given without {needed}")]
    Incomplete {
        /// Where it stands.
        field: String,
        /// What is missing.
        needed: &'static str,
    },
    /// A file that a field names can't be read.
    #[error("can't read {}, which {field} names: {error}", path.display())]
    UnreadableFile {
        /// Where it stands.
        field: String,
        /// What it names.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What should be base64 is not.
    #[error("{field} is not base64")]
    NotBase64 {
        /// Where it stands.
        field: String,
    },
    /// What should be a certificate is not.
    #[error("{field}: {error}")]
    NoCertificate {
        /// Where it stands.
        field: String,
        /// Why.
        error: NoCertificate,
    },
    /// A token can't be used.
    #[error("{field}: {error}")]
    Token {
        /// Where it stands, or which file holds it.
        field: String,
        /// Why.
        error: TokenError,
    },
    /// The client certificate can't be used.
    #[error("{entry}: {error}")]
    Identity {
        /// Where it stands.
        entry: String,
        /// Why.
        error: IdentityError,
    },
    /// A way to log in that kubectl has no more.
    #[error(
        "{field}: the {name} auth-provider is no longer supported, by kubectl neither. Use a credential \
         plugin instead (`exec`){hint}"
    )]
    RemovedProvider {
        /// Where it stands.
        field: String,
        /// Its name.
        name: String,
        /// Which plugin, if it is known.
        hint: &'static str,
    },
}

impl KubeconfigFault {
    /// Returns the error that this is wrong with a file.
    pub(super) fn of(self, file: &Path) -> KubeconfigError {
        self.of_files([file])
    }

    /// Returns the error that this is wrong with all these files together.
    pub(super) fn of_files<'a>(self, files: impl IntoIterator<Item = &'a Path>) -> KubeconfigError {
        let names: Vec<String> = files.into_iter().map(|file| file.display().to_string()).collect();
        KubeconfigError { files: names.join(", "), fault: self }
    }
}
