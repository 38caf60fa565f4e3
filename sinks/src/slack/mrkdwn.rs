//! Escapes text for Slack's `mrkdwn`, so that Slack shows it as it is.
//!
//! Whoever creates Pods controls their names: no name becomes a mention, a link or formatting.

use jiff::Timestamp;
use untrusted::is_deceptive;

/// The longest escaped name. Kubernetes' names fit: they have up to 253 characters, none of which needs
/// escaping.
const MAX_NAME_BYTES: usize = 253;

/// Returns a name in backticks, between which Slack formats nothing.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", escape(text))
}

/// Returns untrusted text as text that Slack only shows. Slack needs three escapes, and a backtick would
/// end a code span.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        let length = escaped.len();
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '`' => escaped.push('\''),
            c if is_deceptive(c) => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
        if escaped.len() > MAX_NAME_BYTES {
            escaped.truncate(length);
            return escaped + "…";
        }
    }
    escaped
}

/// Returns a time that Slack shows in the reader's time zone (Slack: "Date formatting").
pub(super) fn date(time: Timestamp) -> String {
    let (unix, utc) = (time.as_second(), time.strftime("%Y-%m-%d %H:%M:%S UTC"));
    format!("<!date^{unix}^{{date_short_pretty}} at {{time_secs}}|{utc}>")
}
