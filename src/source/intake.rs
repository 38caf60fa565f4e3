//! What the answers for one resource say, decoded. An object that can't be read is counted and passed over.

use std::future::ready;

use cluster::Refusal;
use jiff::Timestamp;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Observation,
    answer::{ListPage, WatchLine, decode, metadata},
    objects::ObjectMetadata,
    report::WatchReport,
    request::ListShape,
};
use crate::metrics::WatchedResource;

/// An object with a resourceVersion, after which a watch may go on.
pub(super) trait Versioned {
    fn resource_version(&self) -> &str;
}

/// What a resource is watched for, and how what it shows becomes observations.
pub(super) trait Watched: Send {
    /// The type that its objects are decoded into.
    type Object: DeserializeOwned + Versioned + Send;
    /// Its name in the metrics.
    const RESOURCE: WatchedResource;
    /// Whether the API server sends bookmarks, one of them just before a watch ends. It does for all that
    /// it caches, and Events are not cached.
    const HAS_BOOKMARKS: bool;
    /// Which part of a list is read.
    const LIST: ListShape;
    /// Objects to a page. A page is held in memory until it is decoded.
    const PAGE_OBJECTS: u32;

    /// Returns the observation for the beginning of a list. `in_sync` is when the last watch was known to work.
    fn list_begins(&self, _in_sync: Timestamp) -> Option<Observation> {
        None
    }

    /// Does what must come before an object in the list is taken in.
    fn before(&mut self, _object: &Self::Object) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Returns the observation for an object in the list.
    fn listed(&mut self, _object: Self::Object) -> Option<Observation> {
        None
    }

    /// Returns the observation for the end of a list.
    fn list_ends(&mut self) -> Option<Observation> {
        None
    }

    /// Returns the observation for an object that was added or changed.
    fn changed(&self, _object: Self::Object) -> Option<Observation> {
        None
    }

    /// Returns the observation for an object that was deleted.
    fn deleted(&self, _object: Self::Object) -> Option<Observation> {
        None
    }
}

/// What a line of a watch says.
pub(super) enum WatchWord<O> {
    /// An object was added or changed.
    Changed(O),
    /// An object was deleted.
    Deleted(O),
    /// Nothing to take in: a bookmark, or an object that can't be read.
    Nothing,
    /// The API server ends the watch with an error.
    Error(Refusal),
}

/// Decodes a page of a list.
///
/// # Errors
///
/// It is no list.
pub(super) fn read_page<W: Watched>(
    page: &[u8],
    report: &mut WatchReport,
) -> Result<ListPage<W::Object>, serde_json::Error> {
    if W::LIST == ListShape::Version {
        let ListPage { version, .. } = ListPage::<IgnoredAny>::read(page)?;
        return Ok(ListPage { version, next: None, items: Vec::new() });
    }
    if let Ok(page) = ListPage::<W::Object>::read(page) {
        page.items.iter().for_each(|_| report.object());
        return Ok(page);
    }
    let ListPage { version, next, items } = ListPage::<&RawValue>::read(page)?;
    let items = items.into_iter().filter_map(|object| read_object(object, report)).collect();
    Ok(ListPage { version, next, items })
}

/// Decodes a line of a watch, and moves `version` to where the watch may go on after it.
///
/// # Errors
///
/// It is no line of a watch.
pub(super) fn read_line<O: DeserializeOwned + Versioned>(
    line: &[u8],
    version: &mut String,
    report: &mut WatchReport,
) -> Result<WatchWord<O>, serde_json::Error> {
    if let Ok(WatchLine { r#type: r#type @ ("ADDED" | "MODIFIED" | "DELETED"), object }) =
        decode::<WatchLine<'_, O>>(line)
        && !object.resource_version().is_empty()
    {
        report.object();
        object.resource_version().clone_into(version);
        return Ok(word(r#type, object));
    }
    let WatchLine { r#type, object } = decode::<WatchLine<'_, &RawValue>>(line)?;
    if r#type == "ERROR" {
        return Ok(WatchWord::Error(Refusal::of_status(object.get())));
    }
    if let Some(metadata) = metadata(object).filter(|metadata| !metadata.resource_version.is_empty()) {
        *version = metadata.resource_version;
    }
    if r#type == "BOOKMARK" {
        return Ok(WatchWord::Nothing);
    }
    Ok(read_object(object, report).map_or(WatchWord::Nothing, |object| word(r#type, object)))
}

fn word<O>(r#type: &str, object: O) -> WatchWord<O> {
    if r#type == "DELETED" { WatchWord::Deleted(object) } else { WatchWord::Changed(object) }
}

fn read_object<O: DeserializeOwned>(object: &RawValue, report: &mut WatchReport) -> Option<O> {
    report.object();
    match serde_json::from_str(object.get()) {
        Ok(object) => Some(object),
        Err(error) => {
            let ObjectMetadata { namespace, name, .. } = metadata(object).unwrap_or_default();
            report.undecodable(&namespace, &name, &error);
            None
        }
    }
}
