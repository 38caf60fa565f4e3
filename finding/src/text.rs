//! Reads the strings of a finding up to a bound: whoever may write Events may write one with others.

use serde::{Deserialize, Deserializer, de::Error};

/// Longer than any string of a finding of this program's, its message included.
pub(crate) const MAX_TEXT_BYTES: usize = 4 * 1024;

/// Reads a text that is not too long.
pub(crate) fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    up_to_bound(String::deserialize(deserializer)?)
}

/// Reads a text that may be missing and is not too long.
pub(crate) fn bounded_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer)?.map(up_to_bound).transpose()
}

fn up_to_bound<E: Error>(text: String) -> Result<String, E> {
    if text.len() > MAX_TEXT_BYTES { Err(E::custom("a text is too long")) } else { Ok(text) }
}

/// Reads 32 hexadecimal digits.
pub(crate) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if id.len() == 32 && id.bytes().all(is_digit) {
        return Ok(id);
    }
    Err(D::Error::custom("an id has 32 hexadecimal digits"))
}
