//! What an API server answers: a page of a list, a line of a watch.
//!
//! Both are generic in their objects. Decoded at once, with the rest of the answer, each byte is read
//! once; but one object that can't be decoded takes the others with it. Then the answer is read again
//! with [`RawValue`]s for objects, to be decoded each by itself.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::objects::ObjectMetadata;

/// A page of a list.
pub(super) struct Page<O> {
    /// The version of the list.
    pub version: String,
    /// What to ask for the next page with.
    pub next: Option<String>,
    pub items: Vec<O>,
}

/// A line of a watch.
#[derive(Deserialize)]
pub(super) struct Line<'a, O> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub r#type: &'a str,
    pub object: O,
}

#[derive(Deserialize)]
struct List<O> {
    metadata: ListMetadata,
    #[serde(default = "Option::default")]
    items: Option<Vec<O>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(default)]
    r#continue: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    metadata: ObjectMetadata,
}

impl<'a, O: Deserialize<'a>> Page<O> {
    /// Reads a page. What has no version is no list, and must not be taken for an empty one.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        let List { metadata, items } = decode(bytes)?;
        if metadata.resource_version.is_empty() {
            return Err(serde::de::Error::custom("the list has no resourceVersion"));
        }
        Ok(Self {
            version: metadata.resource_version,
            next: metadata.r#continue.filter(|token| !token.is_empty()),
            items: items.unwrap_or_default(),
        })
    }
}

/// Decodes JSON. What is known to be UTF-8 as a whole need not be checked string by string, and all
/// that is decoded shares one kind of reader, which halves its code.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_str(str::from_utf8(bytes).map_err(serde::de::Error::custom)?)
}

/// The metadata of any object.
pub(super) fn metadata(object: &RawValue) -> Option<ObjectMetadata> {
    serde_json::from_str(object.get()).ok().map(|Object { metadata }| metadata)
}

/// Whether a version comes before another: they count up (KEP 5504). Of what is no number, nobody
/// knows.
pub(super) fn is_before(version: &str, other: &str) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    number(version).zip(number(other)).is_some_and(|(version, other)| version < other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_is_not_taken_for_an_empty_one() {
        for answer in ["{}", "[]", "null", r#"{"items": []}"#, r#"{"metadata": {}, "items": []}"#] {
            assert!(Page::<&RawValue>::read(answer.as_bytes()).is_err(), "{answer}");
        }
        assert!(
            Page::<&RawValue>::read(br#"{"kind": "Status", "metadata": {"resourceVersion": ""}}"#).is_err()
        );
    }

    #[test]
    fn go_writes_an_empty_list_as_null() {
        let page = Page::<&RawValue>::read(
            br#"{"metadata": {"resourceVersion": "7", "continue": ""}, "items": null}"#,
        )
        .unwrap();
        assert_eq!((page.version.as_str(), page.next, page.items.len()), ("7", None, 0));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_before("99", "100"));
        assert!(!is_before("100", "100"));
        assert!(!is_before("a", "b"));
    }
}
