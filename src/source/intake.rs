//! What the answers for one resource say, decoded. An object that can't be read is counted and passed over.

use std::future::ready;

use cluster::{Refusal, protobuf::WireMessage};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::{
    Observation,
    answer::AnswerEncoding,
    decode::{DecodeError, EncodedObject, WatchMessage},
    objects::ObjectMetadata,
    report::WatchReport,
    request::ListShape,
};
use crate::metrics::WatchedResource;

/// An object as the API server has it.
pub(super) trait ApiObject: DeserializeOwned + WireMessage + Send {
    /// Returns where a watch may go on after it.
    fn resource_version(&self) -> &str;
}

/// What a resource is watched for, and how what it shows becomes observations.
pub(super) trait Watched: Send {
    /// The type that its objects are decoded into.
    type Object: ApiObject;
    /// Its name in the metrics.
    const RESOURCE: WatchedResource;
    /// Whether the API server sends bookmarks, one of them just before a watch ends. It does for all that
    /// it caches, and Events are not cached.
    const HAS_BOOKMARKS: bool;
    /// Which part of a list is read.
    const LIST: ListShape;
    /// Objects to a page.
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

/// What a message of a watch says.
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

/// Decodes a message of a watch, and moves `version` to where the watch may go on after it.
///
/// # Errors
///
/// It is no message of a watch.
pub(super) fn read_message<O: ApiObject>(
    encoding: AnswerEncoding,
    message: &[u8],
    version: &mut String,
    report: &mut WatchReport,
) -> Result<WatchWord<O>, DecodeError> {
    if let Ok(WatchMessage { r#type: r#type @ (b"ADDED" | b"MODIFIED" | b"DELETED"), object }) =
        WatchMessage::<O>::decode_whole(encoding, message)
        && !object.resource_version().is_empty()
    {
        report.object();
        object.resource_version().clone_into(version);
        return Ok(word(r#type, object));
    }
    let message = WatchMessage::decode(encoding, message)?;
    let WatchMessage { r#type, object } = message;
    if r#type == b"ERROR" {
        return Ok(WatchWord::Error(message.refusal()));
    }
    if let Some(metadata) = object.metadata().filter(|metadata| !metadata.resource_version.is_empty()) {
        *version = metadata.resource_version;
    }
    if r#type == b"BOOKMARK" {
        return Ok(WatchWord::Nothing);
    }
    Ok(read_object(object, report).map_or(WatchWord::Nothing, |object| word(r#type, object)))
}

fn word<O>(r#type: &[u8], object: O) -> WatchWord<O> {
    if r#type == b"DELETED" { WatchWord::Deleted(object) } else { WatchWord::Changed(object) }
}

/// Decodes an object. One that can't be read is counted.
pub(super) fn read_object<O: ApiObject>(object: EncodedObject<'_>, report: &mut WatchReport) -> Option<O> {
    report.object();
    match object.decode() {
        Ok(object) => Some(object),
        Err(error) => {
            let ObjectMetadata { namespace, name, .. } = object.metadata().unwrap_or_default();
            report.undecodable(&namespace, &name, &error);
            None
        }
    }
}
