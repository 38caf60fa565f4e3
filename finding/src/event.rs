//! The name, reason and sender of the Kubernetes Event that tells of a kill.

use crate::KillId;

/// The `source.component` and `reportingComponent` of the Events.
pub const EVENT_COMPONENT: &str = "oom-event-generator";

/// The `reason` of the Events.
pub const EVENT_REASON: &str = "PreviousContainerWasOOMKilled";

/// The annotation of the Event that holds the finding, as a line of JSON.
pub const FINDING_ANNOTATION: &str = "oom-event-generator/finding";

/// The annotation of the Event that names the sinks that the finding is still owed to, separated by commas.
pub const OWED_ANNOTATION: &str = "oom-event-generator/owed";

/// The annotation of the Event that says when it was last written anew, so that its time to live began again.
pub const RENEWED_ANNOTATION: &str = "oom-event-generator/renewed";

/// What the API server allows for the name of an object: a DNS-1123 subdomain.
const MAX_NAME_CHARS: usize = 253;

/// Returns the name of the Event that tells of a kill in a Pod: the same for the same kill, always.
pub fn event_name(pod_name: &str, id: &KillId) -> String {
    let room = MAX_NAME_CHARS - 1 - id.as_str().len();
    let start: String = pod_name.chars().take(room).collect();
    // A label of a DNS-1123 subdomain may not end in a hyphen, nor be empty.
    format!("{}.{}", start.trim_end_matches(['-', '.']), id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pod_names_give_valid_names_of_events() {
        let id = KillId::new(&["a"]);
        let longest = "a".repeat(253);
        assert_eq!(event_name(&longest, &id), format!("{}.{}", "a".repeat(220), id.as_str()));
        assert_eq!(event_name(&longest, &id).len(), MAX_NAME_CHARS);
        assert_ne!(event_name(&longest, &id), event_name(&longest, &KillId::new(&["b"])));

        for ending in ["-.-", "...", "---"] {
            let cut_there = format!("{}{ending}{}", "a".repeat(218), "b".repeat(32));
            assert_eq!(event_name(&cut_there, &id), format!("{}.{}", "a".repeat(218), id.as_str()));
        }
        assert_eq!(event_name("web-0.db", &id), format!("web-0.db.{}", id.as_str()));
    }
}
