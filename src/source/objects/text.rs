//! Reads strings that others wrote up to a bound. What Kubernetes itself allows passes whole; of
//! anything longer the rest is passed over, so that what is kept of an object has a bounded size.

use std::fmt;

use serde::{Deserializer, de::Visitor};

/// The longest name that Kubernetes allows: a DNS-1123 subdomain.
const MAX_NAME_BYTES: usize = 253;
/// More than the longest reference to an image: a name of 255 bytes, a tag of 128, a digest.
const MAX_IMAGE_BYTES: usize = 512;

/// Reads a name. One that is too long ends in `…`.
pub(super) fn cut_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_str(CutText { max_bytes: MAX_NAME_BYTES })
}

/// Reads a name that may be missing, which an empty one is, too.
pub(super) fn cut_name_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let name = deserializer.deserialize_option(CutOption(CutText { max_bytes: MAX_NAME_BYTES }))?;
    Ok(name.filter(|name| !name.is_empty()))
}

/// Reads a name that may be missing.
pub(super) fn cut_name_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    cut_name_or_none(deserializer).map(Option::unwrap_or_default)
}

/// Reads a reference to an image, if there is one.
pub(super) fn cut_image_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_option(CutOption(CutText { max_bytes: MAX_IMAGE_BYTES }))
}

/// Reads whether a text is `true`.
pub(super) fn is_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = deserializer.deserialize_option(CutOption(CutText { max_bytes: "true".len() }))?;
    Ok(text.is_some_and(|text| text == "true"))
}

struct CutText {
    max_bytes: usize,
}

impl Visitor<'_> for CutText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        if text.len() <= self.max_bytes {
            return Ok(text.to_owned());
        }
        Ok(format!("{}…", &text[..text.floor_char_boundary(self.max_bytes)]))
    }
}

struct CutOption(CutText);

impl<'de> Visitor<'de> for CutOption {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self.0).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> String {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        cut_name(&mut deserializer).unwrap()
    }

    #[test]
    fn the_longest_name_of_kubernetes_passes_whole() {
        let longest = "a".repeat(MAX_NAME_BYTES);
        assert_eq!(cut(&format!(r#""{longest}""#)), longest);
        assert_eq!(cut(&format!(r#""{longest}b""#)), format!("{longest}…"));
        assert_eq!(cut(&format!(r#""{}""#, "ü".repeat(200))), format!("{}…", "ü".repeat(126)));
    }
}
