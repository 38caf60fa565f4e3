//! The layers of the configuration: a file, an environment variable or an option each. figment merges
//! them, and later layers win key by key.

use std::{fmt, path::PathBuf};

use figment::{
    Metadata, Profile, Provider, Source,
    value::{Dict, Map, Value},
};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// Nobody wrote it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable or an option of the command line, such as `$OOM_LOOKBACK` or `--sink slack`.
    /// Its value is text, whatever type its key needs.
    Argument(String),
}

impl ValueOrigin {
    /// Returns the origin that [`ConfigLayer`] put into figment's metadata.
    pub(super) fn of(metadata: Option<&Metadata>) -> Self {
        match metadata.and_then(|metadata| metadata.source.as_ref()) {
            Some(Source::File(path)) => Self::File(path.clone()),
            Some(Source::Custom(name)) => Self::Argument(name.clone()),
            _ => Self::Default,
        }
    }
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Argument(name) => f.write_str(name),
        }
    }
}

/// Values with the same origin.
pub struct ConfigLayer {
    origin: ValueOrigin,
    values: Dict,
}

impl ConfigLayer {
    /// Makes a layer of a file's values.
    pub fn file(path: PathBuf, values: Dict) -> Self {
        Self { origin: ValueOrigin::File(path), values }
    }

    /// Makes a layer of one value, whose key has the parts `key`.
    pub fn value(origin: ValueOrigin, key: &[&str], value: String) -> Self {
        let mut values = Value::from(value);
        for part in key.iter().rev() {
            values = Value::from(Map::from([(part, values)]));
        }
        Self { origin, values: values.into_dict().unwrap_or_default() }
    }
}

impl Provider for ConfigLayer {
    fn metadata(&self) -> Metadata {
        let metadata = Metadata::named("configuration");
        match &self.origin {
            ValueOrigin::Default => metadata,
            ValueOrigin::File(path) => metadata.source(path.as_path()),
            ValueOrigin::Argument(name) => metadata.source(name.as_str()),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}
