//! Decodes objects, and the messages of a watch, in either encoding.
//!
//! A message of a watch is first decoded with its object, so that each byte is read once. If that fails, it is
//! decoded again with the object as it is, so that what can be read of it still counts.

use cluster::{
    Refusal,
    protobuf::{WireError, WireFields, WireMessage, WireValue, open_envelope},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{
    answer::AnswerEncoding,
    mend::{from_json, read_json},
    objects::ObjectMetadata,
};

/// Why something can't be decoded.
#[derive(Debug, Error)]
pub(super) enum DecodeError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Protobuf(#[from] WireError),
}

/// An object that isn't decoded yet.
#[derive(Clone, Copy)]
pub(super) enum EncodedObject<'a> {
    Json(&'a [u8]),
    /// Without its envelope.
    Protobuf(&'a [u8]),
}

/// A message of a watch.
pub(super) struct WatchMessage<'a, O> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub r#type: &'a [u8],
    pub object: O,
}

#[derive(Deserialize)]
struct JsonMessage<'a, O> {
    r#type: &'a str,
    object: O,
}

#[derive(Deserialize)]
struct AnyObject {
    metadata: ObjectMetadata,
}

impl<'a> EncodedObject<'a> {
    /// An object in a list.
    pub(super) fn of(encoding: AnswerEncoding, bytes: &'a [u8]) -> Self {
        match encoding {
            AnswerEncoding::Json => Self::Json(bytes),
            AnswerEncoding::Protobuf => Self::Protobuf(bytes),
        }
    }

    /// Decodes it.
    pub(super) fn decode<O: DeserializeOwned + WireMessage>(self) -> Result<O, DecodeError> {
        match self {
            Self::Json(json) => Ok(read_json(json)?),
            Self::Protobuf(bytes) => Ok(O::decode(bytes)?),
        }
    }

    /// Returns its metadata, if they can be read.
    pub(super) fn metadata(self) -> Option<ObjectMetadata> {
        match self {
            Self::Json(json) => read_json(json).ok().map(|AnyObject { metadata }| metadata),
            Self::Protobuf(bytes) => {
                // They come first, so that they can be read though what follows can't.
                let (_, fields) = WireFields(bytes).next_field().ok()??;
                let mut metadata = ObjectMetadata::default();
                // What comes before the damage counts.
                metadata.merge(fields.bytes()).ok();
                Some(metadata)
            }
        }
    }
}

impl<'a, O: DeserializeOwned + WireMessage> WatchMessage<'a, O> {
    /// Decodes it with its object.
    pub(super) fn decode_whole(encoding: AnswerEncoding, message: &'a [u8]) -> Result<Self, DecodeError> {
        if encoding == AnswerEncoding::Json {
            let JsonMessage { r#type, object } = from_json::<JsonMessage<'a, O>>(message)?;
            return Ok(Self { r#type: r#type.as_bytes(), object });
        }
        let WatchMessage { r#type, object } = WatchMessage::decode(encoding, message)?;
        Ok(Self { r#type, object: object.decode()? })
    }
}

impl<'a> WatchMessage<'a, EncodedObject<'a>> {
    /// Decodes all but the object.
    pub(super) fn decode(encoding: AnswerEncoding, message: &'a [u8]) -> Result<Self, DecodeError> {
        match encoding {
            AnswerEncoding::Json => {
                let JsonMessage { r#type, object } = from_json::<JsonMessage<'a, &RawValue>>(message)?;
                let object = EncodedObject::Json(object.get().as_bytes());
                Ok(Self { r#type: r#type.as_bytes(), object })
            }
            AnswerEncoding::Protobuf => {
                let (r#type, object) = WireValue::Bytes(message).entry().ok_or(WireError::CutOff)?;
                let (object, _) = object.entry().ok_or(WireError::CutOff)?;
                let object = open_envelope(object.bytes())?;
                Ok(Self { r#type: r#type.bytes(), object: EncodedObject::Protobuf(object) })
            }
        }
    }

    /// Returns what it says instead of an object, if it is an error.
    pub(super) fn refusal(&self) -> Refusal {
        match self.object {
            EncodedObject::Json(json) => Refusal::of_json(json),
            EncodedObject::Protobuf(bytes) => Refusal::of_protobuf(bytes),
        }
    }
}
