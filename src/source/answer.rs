//! What an API server answers: a page of a list, a line of a watch.
//!
//! Both are generic in their objects. An answer is first decoded with its objects, so that each byte is
//! read once. If that fails, which one odd object suffices for, it is decoded again with [`RawValue`]s as
//! objects, and then each object by itself.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::objects::ObjectMetadata;

/// A page of a list.
pub(super) struct ListPage<O> {
    /// The version of the list.
    pub version: String,
    /// What to ask for the next page with.
    pub next: Option<String>,
    pub items: Vec<O>,
}

/// A line of a watch.
#[derive(Deserialize)]
pub(super) struct WatchLine<'a, O> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub r#type: &'a str,
    pub object: O,
}

#[derive(Deserialize)]
struct ListAnswer<O> {
    metadata: ListAnswerMetadata,
    #[serde(default = "Option::default")]
    items: Option<Vec<O>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListAnswerMetadata {
    resource_version: String,
    #[serde(default)]
    r#continue: Option<String>,
}

#[derive(Deserialize)]
struct AnyObject {
    metadata: ObjectMetadata,
}

impl<'a, O: Deserialize<'a>> ListPage<O> {
    /// Decodes a page.
    ///
    /// # Errors
    ///
    /// It is no list. What has no version is none, and must not be taken for an empty one.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        let ListAnswer { metadata, items } = decode(bytes)?;
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

/// Decodes JSON.
///
/// It checks the whole for UTF-8 first: that is faster than string by string, and all that is decoded
/// then shares one kind of reader, which halves its code.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_str(str::from_utf8(bytes).map_err(serde::de::Error::custom)?)
}

/// Returns the metadata of any object, if it can be read.
pub(super) fn metadata(object: &RawValue) -> Option<ObjectMetadata> {
    serde_json::from_str(object.get()).ok().map(|AnyObject { metadata }| metadata)
}

/// Returns whether a version comes before another: they count up (KEP 5504). Returns false unless both
/// are numbers.
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
            assert!(ListPage::<&RawValue>::read(answer.as_bytes()).is_err(), "{answer}");
        }
        assert!(
            ListPage::<&RawValue>::read(br#"{"kind": "Status", "metadata": {"resourceVersion": ""}}"#)
                .is_err()
        );
    }

    #[test]
    fn go_writes_an_empty_list_as_null() {
        let page = ListPage::<&RawValue>::read(
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
