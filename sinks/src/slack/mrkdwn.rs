//! Escapes text for Slack's `mrkdwn`, so that Slack shows it as it is.
//!
//! Whoever creates Pods controls their names: no name becomes a mention, a link or formatting.

use jiff::Timestamp;

/// The longest escaped name. Kubernetes' names fit: they have up to 253 characters, none of which needs
/// escaping.
const MAX_NAME_BYTES: usize = 253;

/// Replaces a control character, and one that is invisible or changes how others are shown.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

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
            c if c.is_control() || is_invisible(c) => escaped.push(REPLACEMENT),
            c => escaped.push(c),
        }
        if escaped.len() > MAX_NAME_BYTES {
            escaped.truncate(length);
            return escaped + "…";
        }
    }
    escaped
}

/// Returns whether a character has no width, breaks the line, or turns the direction of text.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}')
}

/// Returns a time that Slack shows in the reader's time zone (Slack: "Date formatting").
pub(super) fn date(time: Timestamp) -> String {
    let (unix, utc) = (time.as_second(), time.strftime("%Y-%m-%d %H:%M:%S UTC"));
    format!("<!date^{unix}^{{date_short_pretty}} at {{time_secs}}|{utc}>")
}
