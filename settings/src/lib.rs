//! Reads the configuration key by key, so that one run finds every error in it.
//!
//! [`read`] merges the [`ConfigLayer`]s (file, environment, command line) and hands a [`ConfigSection`] to
//! the reader. A getter that finds an error notes it, returns the default or `None`, and the reader
//! continues. A key that the reader never asks for is unknown. [`read`] returns the settings and where each
//! value came from, or all [`ConfigErrors`] at once. Neither contains a secret.

mod layer;
mod problem;
mod secret;
mod words;

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use figment::{
    Figment,
    value::{Dict, Tag, Value},
};
use jiff::fmt::friendly::SpanParser;
use serde::{Serialize, de::DeserializeOwned};

pub use layer::{ConfigLayer, ValueOrigin};
pub use problem::{ConfigErrors, ConfigProblem, did_you_mean, one_of};
pub use secret::{SecretFileError, SecretSource};
use words::{describe, join, kind};
pub use words::{quote, spell};

/// The longest duration: longer than anybody needs, short enough for every clock to add it.
const MAX_DURATION: Duration = Duration::from_hours(8760);

/// What a key for a secret's file holds.
const SECRET_FILE: &str = "the path of a file that holds the secret";

/// One key that was read, and the value that applies.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedKey {
    /// The key, from the top: `sinks.team.group_wait`.
    pub path: String,
    /// Its value: `***` for a secret, null if there is none.
    pub value: serde_json::Value,
    /// Where the value was written.
    pub origin: ValueOrigin,
}

/// Merges the layers, of which later ones win, and reads them with `reader`.
///
/// # Errors
///
/// Everything that the reader noted as wrong, and every key that it never asked for.
pub fn read<T>(
    layers: impl IntoIterator<Item = ConfigLayer>,
    reader: impl FnOnce(&mut ConfigSection<'_>) -> T,
) -> Result<(T, Vec<ResolvedKey>), ConfigErrors> {
    let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
    let root = figment.find_value("").map_err(|error| {
        let text = error.to_string();
        ConfigErrors::new(vec![ConfigProblem { path: String::new(), origin: ValueOrigin::Default, text }])
    })?;
    let mut report = SettingsReader { figment, problems: Vec::new(), resolved: Vec::new() };
    let result = ConfigSection::enter(&mut report, String::new(), Some(&root), reader);
    if report.problems.is_empty() {
        Ok((result, report.resolved))
    } else {
        Err(ConfigErrors::new(report.problems))
    }
}

struct SettingsReader {
    figment: Figment,
    problems: Vec<ConfigProblem>,
    resolved: Vec<ResolvedKey>,
}

impl SettingsReader {
    /// Returns where a value was written; for a map, the earliest layer that has a part of it.
    fn origin(&self, value: &Value) -> ValueOrigin {
        fn earliest(value: &Value) -> Tag {
            let inner = value.as_dict().and_then(|dict| dict.values().map(earliest).min());
            inner.unwrap_or_else(|| value.tag())
        }
        ValueOrigin::of(self.figment.get_metadata(earliest(value)))
    }
}

/// One level of the configuration.
pub struct ConfigSection<'a> {
    report: &'a mut SettingsReader,
    path: String,
    origin: ValueOrigin,
    values: &'a Dict,
    known: Vec<String>,
    /// Whether the section is so wrong that further errors about it would only confuse.
    given_up: bool,
}

impl ConfigSection<'_> {
    fn enter<T>(
        report: &mut SettingsReader,
        path: String,
        value: Option<&Value>,
        reader: impl FnOnce(&mut ConfigSection<'_>) -> T,
    ) -> T {
        static NOTHING: Dict = Dict::new();
        let origin = value.map_or(ValueOrigin::Default, |value| report.origin(value));
        let values = value.map_or(Some(&NOTHING), Value::as_dict);
        if let Some(value) = value.filter(|_| values.is_none()) {
            let text = format!("is {}; expected a map", kind(value));
            report.problems.push(ConfigProblem { path: path.clone(), origin: origin.clone(), text });
        }
        let given_up = values.is_none();
        let values = values.unwrap_or(&NOTHING);
        let mut section = ConfigSection { report, path, origin, values, known: Vec::new(), given_up };
        let result = reader(&mut section);
        section.reject_unknown();
        result
    }

    /// Returns the value of a key, or `None` if it is missing or wrong.
    ///
    /// `expected` completes the sentence "expected …".
    pub fn get<T: DeserializeOwned + Serialize>(&mut self, key: &'static str, expected: &str) -> Option<T> {
        let value = self.decode(key, expected);
        self.resolve(key, &value);
        value
    }

    /// Returns the value of a key, or `default` if it is missing or wrong.
    ///
    /// `expected` completes the sentence "expected …".
    pub fn get_or<T: DeserializeOwned + Serialize>(
        &mut self,
        key: &'static str,
        default: T,
        expected: &str,
    ) -> T {
        let value = self.decode(key, expected).unwrap_or(default);
        self.resolve(key, &value);
        value
    }

    /// Returns a duration such as `1h30m`, or `default` if it is missing or wrong.
    pub fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let expected = "a duration such as 2s, 15m or 1h";
        let written: Option<String> = self.decode(key, expected);
        let duration =
            written.and_then(|written| match SpanParser::new().parse_unsigned_duration(&written) {
                Ok(duration) if duration <= MAX_DURATION => Some(duration),
                Ok(_) => {
                    self.error(key, format!("is {}, too long", quote(&written)), "at most 8760h, a year");
                    None
                }
                Err(_) => {
                    self.error(key, format!("is {}", quote(&written)), expected);
                    None
                }
            });
        let duration = duration.unwrap_or(default);
        self.resolve(key, &spell(duration));
        duration
    }

    /// Returns where a secret comes from. It stands either in `key` or in the file that `{key}_file` names, which
    /// has one now. A line break at its end is not part of it.
    pub fn secret(&mut self, key: &'static str) -> Option<SecretSource> {
        let key_file = format!("{key}_file");
        let source = match (self.find(key), self.find(&key_file)) {
            (Some(_), Some(file)) => {
                let problem = format!("is given beside {key_file} ({})", self.report.origin(file));
                self.error(key, problem, format!("only one of {key} and {key_file}"));
                None
            }
            (Some(Value::String(_, text)), None) if text.trim().is_empty() => {
                self.error(key, "is empty", "the secret");
                None
            }
            (Some(Value::String(_, text)), None) => {
                Some(SecretSource::Value(text.trim_end_matches(['\r', '\n']).into()))
            }
            (Some(value), None) => {
                self.error(key, format!("is {}", kind(value)), "text, in quotes");
                None
            }
            (None, Some(_)) => self.decode(&key_file, SECRET_FILE).and_then(|path: String| {
                self.resolve(&key_file, &path);
                self.secret_file(&key_file, path)
            }),
            (None, None) => {
                let variable = format!("{}__{key}", self.path.replace('.', "__")).to_uppercase();
                self.missing(key, format!("{key}, {key_file} or $OOM_{variable}"));
                None
            }
        };
        self.resolve(key, &self.has(key).then_some("***"));
        if !self.has(&key_file) {
            self.resolve(&key_file, &());
        }
        source
    }

    /// Returns the file of a secret that may be missing, as an empty path is.
    pub fn optional_secret_file(&mut self, key: &'static str) -> Option<SecretSource> {
        let path = self.get_or(key, String::new(), SECRET_FILE);
        if path.is_empty() { None } else { self.secret_file(key, path) }
    }

    /// Returns a map from names to secrets. What it resolves to shows the names alone.
    pub fn secret_values(&mut self, key: &'static str, expected: &str) -> BTreeMap<String, SecretSource> {
        let written: BTreeMap<String, String> = self.secret_map(key, expected);
        self.resolve(key, &written.keys().map(|name| (name, "***")).collect::<BTreeMap<_, _>>());
        written.into_iter().map(|(name, text)| (name, SecretSource::Value(text.into()))).collect()
    }

    /// Returns a map from names to the files of secrets.
    pub fn secret_files(&mut self, key: &'static str, expected: &str) -> BTreeMap<String, SecretSource> {
        let written: BTreeMap<String, String> = self.secret_map(key, expected);
        self.resolve(key, &written);
        let file = |(name, path)| Some((name, self.secret_file(key, path)?));
        written.into_iter().filter_map(file).collect()
    }

    /// Decodes a map of texts. Errors don't show any.
    fn secret_map(&mut self, key: &'static str, expected: &str) -> BTreeMap<String, String> {
        let Some(value) = self.find(key) else { return BTreeMap::new() };
        let text = value.as_str().filter(|_| self.is_argument(value));
        let decoded = value.deserialize().ok().or_else(|| serde_json::from_str(text?).ok());
        decoded.unwrap_or_else(|| {
            self.error(key, format!("is {}, or has what is no text", kind(value)), expected);
            BTreeMap::new()
        })
    }

    /// Makes sure that a file has a secret. Errors don't show the path: somebody may have written the secret there.
    fn secret_file(&mut self, key: &str, path: String) -> Option<SecretSource> {
        let source = SecretSource::File(path.into());
        match source.read() {
            Ok(_) => Some(source),
            Err(SecretFileError::Empty) => {
                self.error(key, SecretFileError::Empty, "the secret");
                None
            }
            Err(error) => {
                self.error(key, error, SECRET_FILE);
                None
            }
        }
    }

    /// Returns whether a key has a value, of any type.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !matches!(value, Value::Empty(..)))
    }

    /// Returns whether a key that is read elsewhere is true.
    pub fn is_true(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| match value {
            Value::Bool(_, value) => *value,
            Value::String(_, text) => self.is_argument(value) && text == "true",
            _ => false,
        })
    }

    /// Returns whether a key is null. Null means "none"; a missing key means the default.
    pub fn is_null(&mut self, key: &'static str) -> bool {
        self.know(key);
        let null = self.values.get(key).is_some_and(|value| match value {
            Value::Empty(..) => true,
            Value::String(_, text) => self.is_argument(value) && text == "null",
            _ => false,
        });
        if null {
            self.resolve(key, &());
        }
        null
    }

    /// Reads a section within this one. A missing one is empty.
    pub fn section<T>(&mut self, key: &'static str, reader: impl FnOnce(&mut ConfigSection<'_>) -> T) -> T {
        let value = self.find(key);
        ConfigSection::enter(self.report, join(&self.path, key), value, reader)
    }

    /// Reads a map of sections; the reader's first argument is a section's name. A missing map is empty.
    pub fn sections<T>(
        &mut self,
        key: &'static str,
        mut reader: impl FnMut(&str, &mut ConfigSection<'_>) -> T,
    ) -> Vec<T> {
        self.section(key, |map| {
            let read = |(name, value): (&String, _)| {
                map.known.push(name.clone());
                ConfigSection::enter(map.report, join(&map.path, name), Some(value), |section| {
                    reader(name, section)
                })
            };
            map.values.iter().map(read).collect()
        })
    }

    /// Notes that the value of a key is wrong. `problem` completes the sentence "`key` …" and `expected` the
    /// sentence "expected …"; neither may show a secret. For a secret that stands in a file, the error names
    /// the key of the file.
    pub fn error(&mut self, key: &str, problem: impl Display, expected: impl Display) {
        let in_file = format!("{key}_file");
        let key = if !self.has(key) && self.has(&in_file) { &in_file } else { key };
        let origin =
            self.values.get(key).map_or_else(|| self.origin.clone(), |value| self.report.origin(value));
        let text = format!("{problem}; expected {expected}");
        self.report.problems.push(ConfigProblem { path: join(&self.path, key), origin, text });
    }

    /// Notes that a required key is missing.
    pub fn missing(&mut self, key: &str, expected: impl Display) {
        if !self.given_up {
            self.error(key, "is missing", expected);
        }
    }

    /// Notes that the section as a whole is wrong.
    pub fn reject(&mut self, problem: impl Display, expected: impl Display) {
        let text = format!("{problem}; expected {expected}");
        self.note(ConfigProblem { path: self.path.clone(), origin: self.origin.clone(), text });
    }

    /// Notes a problem that was found elsewhere.
    pub fn note(&mut self, problem: ConfigProblem) {
        self.report.problems.push(problem);
    }

    /// Reports no further missing or unknown keys, for when it isn't known which keys there should be.
    pub fn give_up(&mut self) {
        self.given_up = true;
    }

    fn reject_unknown(&mut self) {
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        let unknown = self.values.iter().filter(|(key, _)| !self.given_up && !known.contains(&key.as_str()));
        for (key, value) in unknown {
            let hint = did_you_mean(key, &known);
            let text = format!("is no known key{hint}; expected {}", one_of(&known));
            let origin = self.report.origin(value);
            self.report.problems.push(ConfigProblem { path: join(&self.path, key), origin, text });
        }
    }

    fn know(&mut self, key: &str) {
        if !self.known.iter().any(|known| known == key) {
            self.known.push(key.to_owned());
        }
    }

    fn resolve(&mut self, key: &str, value: &impl Serialize) {
        let origin = self.values.get(key).map_or(ValueOrigin::Default, |value| self.report.origin(value));
        let value = serde_json::to_value(value).unwrap_or_default();
        self.report.resolved.push(ResolvedKey { path: join(&self.path, key), value, origin });
    }

    fn decode<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Option<T> {
        let value = self.find(key)?;
        let from_text = |text| if self.is_argument(value) { decode_text(text) } else { None };
        let decoded = value.deserialize().ok().or_else(|| value.as_str().and_then(from_text));
        if decoded.is_none() {
            self.error(key, format!("is {}", describe(value)), expected);
        }
        decoded
    }

    fn is_argument(&self, value: &Value) -> bool {
        matches!(self.report.origin(value), ValueOrigin::Argument(_))
    }
}

impl<'a> ConfigSection<'a> {
    /// Returns the value of a key, which is known from then on. Null is no value.
    fn find(&mut self, key: &str) -> Option<&'a Value> {
        self.know(key);
        self.values.get(key).filter(|value| !matches!(value, Value::Empty(..)))
    }
}

/// Converts text from the environment to another type: `true`, `12` and `["a", "b"]` as in YAML, and lists
/// also as `[a, b]` or `a,b`.
fn decode_text<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok().or_else(|| {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let words = inner.split(',').map(str::trim).filter(|word| !word.is_empty());
        Value::from(words.collect::<Vec<_>>()).deserialize().ok()
    })
}

#[cfg(test)]
mod tests;
