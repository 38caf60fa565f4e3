//! Which volumes of a Pod are in memory, and which volumes its containers mount: no more than their names,
//! and no more of these than any Pod has.

use serde::{Deserialize, Deserializer};

use super::{
    lenient::{record, records},
    text::cut_name_or_empty,
};

/// How many names are kept of each list.
pub(super) const MAX_VOLUMES: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    name: String,
    #[serde(default, deserialize_with = "record")]
    empty_dir: Option<EmptyDir>,
}

#[derive(Deserialize)]
struct EmptyDir {
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    medium: String,
}

#[derive(Deserialize)]
struct VolumeMount {
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    name: String,
}

/// Reads the names of the volumes that are in memory.
pub(super) fn memory_volumes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let is_in_memory = |volume: &Volume| volume.empty_dir.as_ref().is_some_and(|dir| dir.medium == "Memory");
    let volumes = records::<_, Volume>(deserializer)?.into_iter().filter(is_in_memory);
    Ok(volumes.map(|volume| volume.name).take(MAX_VOLUMES).collect())
}

/// Reads the names of the volumes that are mounted.
pub(super) fn mounted_volumes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mounts = records::<_, VolumeMount>(deserializer)?.into_iter();
    Ok(mounts.map(|mount| mount.name).take(MAX_VOLUMES).collect())
}
