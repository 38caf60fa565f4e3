//! Where a value of the configuration was written: each layer is a file, an environment variable or
//! an option, and figment merges them; later layers win, key by key.

use std::{fmt, path::PathBuf};

use figment::{
    Metadata, Profile, Provider, Source,
    value::{Dict, Map, Value},
};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// Nobody wrote it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable or an option of the command line, as it is written: `$OOM_LOOKBACK`,
    /// `--sink slack`. Its value is text, whatever its key needs.
    Argument(String),
}

impl ValueOrigin {
    /// The origin that [`ConfigLayer`] put into figment's metadata.
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

/// Values of one origin.
pub struct ConfigLayer {
    origin: ValueOrigin,
    values: Dict,
}

impl ConfigLayer {
    /// What stands in a file.
    pub fn file(path: PathBuf, values: Dict) -> Self {
        Self { origin: ValueOrigin::File(path), values }
    }

    /// The value of one key, whose parts are `key`.
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
