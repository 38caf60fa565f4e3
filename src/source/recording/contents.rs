//! Counts what stands in a recording, and says it in a line.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Deserialize;
use untrusted::one_line;

use super::{EXPECTED, shape::ObjectType};

/// How many kinds of objects are counted by name.
const MAX_KINDS: usize = 3;

/// What stood in a recording, as far as it was read.
#[derive(Debug, Default)]
pub struct RecordingContents {
    /// Pods and Events, each counted as often as it is shown.
    useful: usize,
    /// Objects of other kinds, by their kind.
    others: BTreeMap<String, usize>,
    /// Those of further kinds.
    of_further_kinds: usize,
    /// What the first `Status` says: the API server answered with it instead of what it was asked for.
    status: Option<String>,
}

#[derive(Deserialize)]
struct StatusMessage {
    message: String,
}

impl RecordingContents {
    /// Counts a Pod or an Event.
    pub(super) fn count_useful(&mut self) {
        self.useful += 1;
    }

    /// Counts an object of another kind.
    pub(super) fn count_other(&mut self, object: &ObjectType, json: &str) {
        let kind = one_line(object.kind.as_deref().unwrap_or_default());
        if kind == "Status" && self.status.is_none() {
            self.status =
                serde_json::from_str::<StatusMessage>(json).ok().map(|status| one_line(&status.message));
        }
        if let Some(count) = self.others.get_mut(&kind) {
            *count += 1;
        } else if self.others.len() < MAX_KINDS {
            self.others.insert(kind, 1);
        } else {
            self.of_further_kinds += 1;
        }
    }

    /// Returns a line that says what stood there, and how many kills were found in it.
    pub fn summary(&self, kills: usize) -> String {
        let others = self.others.values().sum::<usize>() + self.of_further_kinds;
        let objects = counted(self.useful + others, "object");
        match (self.useful, others) {
            (0, 0) => format!("nothing to read. {EXPECTED}"),
            (0, _) => format!("{objects}, but no Pod or Event: {}. {EXPECTED}", self.kinds()),
            _ => format!("{objects}, {}", counted(kills, "kill")),
        }
    }

    /// Returns which kinds of objects there are besides Pods and Events.
    fn kinds(&self) -> String {
        let mut kinds: Vec<_> = self.others.iter().collect();
        kinds.sort_by_key(|(_, count)| Reverse(**count));
        let named = |(kind, count): (&String, &usize)| match (kind.as_str(), &self.status) {
            ("", _) => format!("{count} without a kind"),
            ("Status", Some(status)) => format!("{count} of kind Status (“{status}”)"),
            _ => format!("{count} of kind {kind}"),
        };
        let mut kinds: Vec<String> = kinds.into_iter().map(named).collect();
        if self.of_further_kinds > 0 {
            kinds.push(format!("{} of others", self.of_further_kinds));
        }
        kinds.join(", ")
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
