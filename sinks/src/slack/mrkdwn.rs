//! Escapes text for Slack's `mrkdwn`, so that Slack shows it as it is.
//!
//! Whoever creates Pods controls their names: no name becomes a mention, a link or formatting.

use jiff::Timestamp;
use untrusted::is_deceptive;

/// The longest escaped name. Kubernetes' names fit: they have up to 253 characters, none of which needs
/// escaping.
const MAX_NAME_BYTES: usize = 253;

/// The longest sentences that are shown.
const MAX_PROSE_BYTES: usize = 700;

/// The longest command that is shown, with the longest names that Kubernetes has.
const MAX_COMMAND_BYTES: usize = 700;

/// Returns a name in backticks, between which Slack formats nothing.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", escape(text))
}

/// Returns a shell command in backticks; nothing if Slack could not show it as it is, or not whole.
pub(super) fn command(text: &str) -> Option<String> {
    let is_shown = |c: char| c != '`' && !c.is_control() && !is_deceptive(c);
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    (escaped.len() <= MAX_COMMAND_BYTES && text.chars().all(is_shown)).then(|| format!("`{escaped}`"))
}

/// Returns sentences of this program's, in which there may be names, as text that Slack only shows.
pub(super) fn prose(text: &str) -> String {
    escape_up_to(MAX_PROSE_BYTES, text).replace(['*', '_', '~'], "'")
}

/// Returns untrusted text as text that Slack only shows. Slack needs three escapes, and a backtick would
/// end a code span.
pub(super) fn escape(text: &str) -> String {
    escape_up_to(MAX_NAME_BYTES, text)
}

fn escape_up_to(max_bytes: usize, text: &str) -> String {
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
        if escaped.len() > max_bytes {
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
