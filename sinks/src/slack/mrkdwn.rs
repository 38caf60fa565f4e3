//! How is something written so that Slack shows it as it is? Slack's `mrkdwn`, as far as it is used here.
//!
//! Whoever creates Pods controls their names: none of them becomes a mention, a link or formatting.

use jiff::Timestamp;

/// A value of another's making, escaped, in bytes. Kubernetes' names fit: 253 characters that need no
/// escaping.
const LONGEST_VALUE: usize = 253;

/// Stands for a character that would not be seen as what it is.
const UNSEEN: char = char::REPLACEMENT_CHARACTER;

/// A name, set off from the words around it. Slack formats nothing between backticks.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", escape(text))
}

/// A value of another's making, as text that Slack never acts on. Slack's own escapes are these three;
/// a backtick would end a code span.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        let length = escaped.len();
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '`' => escaped.push('\''),
            c if c.is_control() || is_invisible(c) => escaped.push(UNSEEN),
            c => escaped.push(c),
        }
        if escaped.len() > LONGEST_VALUE {
            escaped.truncate(length);
            return escaped + "…";
        }
    }
    escaped
}

/// What has no width, breaks the line, or turns the direction of the text after it.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}')
}

/// A time that Slack shows in the reader's own zone (Slack: "Date formatting").
pub(super) fn date(time: Timestamp) -> String {
    let (unix, utc) = (time.as_second(), time.strftime("%Y-%m-%d %H:%M:%S UTC"));
    format!("<!date^{unix}^{{date_short_pretty}} at {{time_secs}}|{utc}>")
}
