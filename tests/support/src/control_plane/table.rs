//! What `kubectl get events` shows of Events.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

const HEADINGS: [&str; 5] = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];

/// The table, in the order in which the Events were last seen.
pub(crate) fn of(mut events: Vec<Event>, now: Timestamp) -> String {
    events.sort_by_key(last_seen);
    let rows: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned))
        .chain(events.iter().map(|event| row(event, now)))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let [a, b, c, d] = std::array::from_fn(width);
    let line = |[seen, kind, reason, object, message]: &[String; 5]| {
        format!("{seen:a$}   {kind:b$}   {reason:c$}   {object:d$}   {message}\n")
    };
    rows.iter().map(line).collect()
}

fn row(event: &Event, now: Timestamp) -> [String; 5] {
    let object = &event.involved_object;
    let kind = object.kind.as_deref().unwrap_or_default().to_lowercase();
    [
        seen(event, now),
        event.type_.clone().unwrap_or_default(),
        event.reason.clone().unwrap_or_default(),
        format!("{kind}/{}", object.name.as_deref().unwrap_or_default()),
        event.message.clone().unwrap_or_default().trim().to_owned(),
    ]
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    event.last_timestamp.as_ref().map(|time| time.0)
}

fn seen(event: &Event, now: Timestamp) -> String {
    let age = |at: Option<Timestamp>| at.map_or_else(|| "<unknown>".to_owned(), |at| age(now, at));
    let last = age(last_seen(event));
    match event.count {
        Some(count) if count > 1 => {
            format!("{last} (x{count} over {})", age(event.first_timestamp.as_ref().map(|time| time.0)))
        }
        _ => last,
    }
}

/// How long ago that was, in the unit or two that kubectl shows.
fn age(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match minutes {
        0..2 => format!("{seconds}s"),
        2..10 if seconds % 60 > 0 => format!("{minutes}m{}s", seconds % 60),
        2..180 => format!("{minutes}m"),
        _ => format!("{hours}h"),
    }
}
