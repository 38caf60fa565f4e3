//! Reads strings that others wrote up to a bound. What Kubernetes itself allows passes whole; of
//! anything longer the rest is passed over, so that what is kept of an object has a bounded size.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Visitor};

use super::lenient::scalar;

/// The longest name that Kubernetes allows: a DNS-1123 subdomain.
const MAX_NAME_BYTES: usize = 253;
/// More than the longest reference to an image: a name of 255 bytes, a tag of 128, a digest.
const MAX_IMAGE_BYTES: usize = 512;

/// Reads a name that must be there. One that is too long ends in `…`.
pub(super) fn cut_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    CutText::<MAX_NAME_BYTES>::deserialize(deserializer).map(|CutText(name)| name)
}

/// Reads a name that may be missing, which an empty one is, too.
pub(super) fn cut_name_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(cut::<_, MAX_NAME_BYTES>(deserializer)?.filter(|name| !name.is_empty()))
}

/// Reads a name that may be missing.
pub(super) fn cut_name_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    cut::<_, MAX_NAME_BYTES>(deserializer).map(Option::unwrap_or_default)
}

/// Reads the value of a label, which may be empty.
pub(super) fn cut_label_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    cut::<_, MAX_NAME_BYTES>(deserializer)
}

/// Reads a reference to an image, if there is one.
pub(super) fn cut_image_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    cut::<_, MAX_IMAGE_BYTES>(deserializer)
}

/// Reads whether a text is `true`.
pub(super) fn is_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(cut::<_, { "true".len() }>(deserializer)?.is_some_and(|text| text == "true"))
}

/// Returns a name, which ends in `…` if it is too long.
pub(super) fn short_name(name: &str) -> String {
    shortened::<MAX_NAME_BYTES>(name)
}

/// Returns a reference to an image, as [`short_name`] does.
pub(super) fn short_image(image: &str) -> String {
    shortened::<MAX_IMAGE_BYTES>(image)
}

fn shortened<const MAX_BYTES: usize>(text: &str) -> String {
    if text.len() <= MAX_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_BYTES)])
}

fn cut<'de, D: Deserializer<'de>, const MAX_BYTES: usize>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(scalar::<_, CutText<MAX_BYTES>>(deserializer)?.map(|CutText(text)| text))
}

/// A text of so many bytes at most, and a `…` if it was longer.
struct CutText<const MAX_BYTES: usize>(String);

struct CutVisitor<const MAX_BYTES: usize>;

impl<'de, const MAX_BYTES: usize> Deserialize<'de> for CutText<MAX_BYTES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(CutVisitor)
    }
}

impl<const MAX_BYTES: usize> Visitor<'_> for CutVisitor<MAX_BYTES> {
    type Value = CutText<MAX_BYTES>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(CutText(shortened::<MAX_BYTES>(text)))
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
