//! How errors and the resolved configuration name keys and show values.

use std::time::Duration;

use figment::value::Value;
use jiff::fmt::friendly::{Spacing, SpanPrinter};

/// Returns the path of a key. A key that contains a URL is not shown: somebody left out the space after the
/// colon, so the key holds the value.
pub(crate) fn join(path: &str, key: &str) -> String {
    let key = if key.contains("://") { "…" } else { key };
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Returns how an error shows a value.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::String(_, text) => quote(text),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => serde_json::to_string(number).unwrap_or_else(|_| kind(value).to_owned()),
        _ => kind(value).to_owned(),
    }
}

/// Returns how an error shows text: cut, and not at all if it contains a URL, which may be a secret.
pub fn quote(text: &str) -> String {
    const MAX_QUOTED_CHARS: usize = 60;
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        _ if text.contains("://") => "a URL".to_owned(),
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Returns what kind of value it is.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "text",
        Value::Bool(..) => "true or false",
        Value::Num(..) => "a number",
        Value::Empty(..) => "null",
        Value::Dict(..) => "a map",
        Value::Array(..) => "a list",
    }
}

/// Returns a duration as the configuration writes it: `1h30m`.
pub fn spell(duration: Duration) -> String {
    SpanPrinter::new().spacing(Spacing::None).unsigned_duration_to_string(&duration)
}
