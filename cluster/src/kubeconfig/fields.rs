//! The fields of one entry of a kubeconfig.
//!
//! One rule for all of them, client-go's: what is absent, null or empty is not there, and what has another
//! type is an error that names the field. Only fields that are asked for are judged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::error::{KubeconfigError, KubeconfigFault};

/// A mapping, and where it stands.
pub(super) struct Fields<'a> {
    file: &'a Path,
    /// Such as `users[alice].user`.
    place: String,
    values: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    /// Takes a mapping, or null.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub(super) fn new(file: &'a Path, place: String, value: &'a Value) -> Result<Self, KubeconfigError> {
        match value {
            Value::Null => Ok(Self { file, place, values: None }),
            Value::Object(values) => Ok(Self { file, place, values: Some(values) }),
            _ => Err(KubeconfigFault::Invalid { field: place, expected: "a mapping" }.of(file)),
        }
    }

    /// Returns the mapping that a file holds.
    pub(super) fn root(file: &'a Path, values: &'a Map<String, Value>) -> Self {
        Self { file, place: String::new(), values: Some(values) }
    }

    /// Returns where the mapping stands.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Returns an error of this entry.
    pub(super) fn wrong(&self, fault: KubeconfigFault) -> KubeconfigError {
        fault.of(self.file)
    }

    /// Returns the full name of a field, for errors.
    pub(super) fn full_name(&self, field: &str) -> String {
        if self.place.is_empty() { field.to_owned() } else { format!("{}.{field}", self.place) }
    }

    /// Returns the error that a field has to be something else.
    pub(super) fn invalid(&self, field: &str, expected: &'static str) -> KubeconfigError {
        self.wrong(KubeconfigFault::Invalid { field: self.full_name(field), expected })
    }

    /// Returns the error that a field is missing.
    pub(super) fn missing(&self, field: &str) -> KubeconfigError {
        self.wrong(KubeconfigFault::Missing { field: self.full_name(field) })
    }

    /// Returns the error that two fields exclude each other.
    pub(super) fn contradiction(&self, one: &'static str, other: &'static str) -> KubeconfigError {
        self.wrong(KubeconfigFault::Contradiction { entry: self.place.clone(), one, other })
    }

    fn get(&self, field: &str) -> &'a Value {
        self.values.and_then(|values| values.get(field)).unwrap_or(&Value::Null)
    }

    /// Returns a text.
    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, KubeconfigError> {
        match self.get(field) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            _ => Err(self.invalid(field, "a text; put it in quotes")),
        }
    }

    /// Returns a text that has to be there.
    pub(super) fn required(&self, field: &str) -> Result<&'a str, KubeconfigError> {
        self.text(field)?.ok_or_else(|| self.missing(field))
    }

    /// Returns whether a flag is set.
    pub(super) fn flag(&self, field: &str) -> Result<bool, KubeconfigError> {
        match self.get(field) {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            _ => Err(self.invalid(field, "true or false")),
        }
    }

    /// Returns a path. A relative one is relative to the file's folder.
    pub(super) fn path(&self, field: &str) -> Result<Option<PathBuf>, KubeconfigError> {
        Ok(self.text(field)?.map(|path| self.resolve(path)))
    }

    /// Returns a path as it is meant from the file's folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Returns what `FIELD-data` holds (base64), else the content of the file that `FIELD` names.
    pub(super) fn content(&self, field: &str) -> Result<Option<Vec<u8>>, KubeconfigError> {
        let data = format!("{field}-data");
        if let Some(text) = self.text(&data)? {
            let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            let decoded = STANDARD.decode(text);
            return match decoded {
                Ok(bytes) => Ok(Some(bytes)),
                Err(_) => Err(self.wrong(KubeconfigFault::NotBase64 { field: self.full_name(&data) })),
            };
        }
        let Some(path) = self.path(field)? else { return Ok(None) };
        let field = self.full_name(field);
        fs::read(&path)
            .map(Some)
            .map_err(|error| self.wrong(KubeconfigFault::UnreadableFile { field, path, error }))
    }

    /// Returns the mapping that stands in a field.
    pub(super) fn fields(&self, field: &str) -> Result<Option<Fields<'a>>, KubeconfigError> {
        let value = self.get(field);
        if value.is_null() {
            return Ok(None);
        }
        Self::new(self.file, self.full_name(field), value).map(Some)
    }

    /// Returns the names in the mapping.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.values.into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// Returns a list of texts.
    pub(super) fn texts(&self, field: &str) -> Result<Vec<String>, KubeconfigError> {
        let text = |value: &Value| {
            value.as_str().map(str::to_owned).ok_or_else(|| self.invalid(field, "a list of texts"))
        };
        self.list(field)?.iter().map(text).collect()
    }

    /// Returns the mappings of a list. Null ones are passed over.
    pub(super) fn mappings(&self, field: &str) -> Result<Vec<Fields<'a>>, KubeconfigError> {
        let values = self.list(field)?.iter().filter(|value| !value.is_null());
        values.map(|value| Self::new(self.file, self.full_name(field), value)).collect()
    }

    /// Returns a value as it is, if it is there.
    pub(super) fn value(&self, field: &str) -> Option<&'a Value> {
        Some(self.get(field)).filter(|value| !value.is_null())
    }

    /// Returns the values of a list.
    pub(super) fn list(&self, field: &str) -> Result<&'a [Value], KubeconfigError> {
        match self.get(field) {
            Value::Null => Ok(&[]),
            Value::Array(values) => Ok(values),
            _ => Err(self.invalid(field, "a list")),
        }
    }
}
