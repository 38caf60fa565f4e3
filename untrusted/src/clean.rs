//! Cleans text that others wrote before a person or a terminal sees it.

use std::borrow::Cow;

/// How much of a text of another's making is shown, in characters.
pub const MAX_SHOWN_CHARS: usize = 500;

/// Returns whether a character deceives whoever reads it: a control character (C0, DEL, C1), one that is
/// invisible, breaks the line, or turns the direction of text.
///
/// These are Unicode's `Cc`, `Zl`, `Zp`, interlinear annotations, and `Default_Ignorable_Code_Point`.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Returns text with `�` in place of each deceptive character.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.contains(is_deceptive) { text.replace(is_deceptive, "\u{fffd}").into() } else { text.into() }
}

/// Returns text on one line with a space in place of each deceptive character, cut to [`MAX_SHOWN_CHARS`].
pub fn one_line(text: &str) -> String {
    let mut characters = text.trim().chars().map(|c| if is_deceptive(c) { ' ' } else { c });
    let mut line: String = characters.by_ref().take(MAX_SHOWN_CHARS).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

/// Returns at most so many characters of a text, of which the last is `…` if there are more.
pub fn cut(text: &str, max_chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max_chars) {
        Some(_) => text.chars().take(max_chars.saturating_sub(1)).chain(['…']).collect(),
        None => text.into(),
    }
}

/// Returns JSON with each deceptive character escaped. In JSON that has no white space but spaces, they stand
/// only in strings, so it means the same.
pub fn clean_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_deceptive) {
        return json.into();
    }
    let mut cleaned = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_deceptive(c) {
            cleaned.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            cleaned.push(c);
        }
    }
    cleaned.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind: C0, DEL, C1, soft hyphen, zero width, line separator, override, isolate, tag.
    const DECEPTIVE: &str = "\u{1b}\r\n\u{7f}\u{9b}\u{ad}\u{200b}\u{2028}\u{202e}\u{2066}\u{e0041}";

    #[test]
    fn a_text_is_shown_on_one_line_and_not_whole() {
        assert_eq!(one_line(" a\n\u{1b}[31mb \r\n"), "a  [31mb");
        assert_eq!(one_line(&"é".repeat(1000)).chars().count(), MAX_SHOWN_CHARS + 1);
    }

    #[test]
    fn nothing_deceptive_is_left_and_all_else_is() {
        assert_eq!(clean(&format!("a{DECEPTIVE}é😀")).replace('\u{fffd}', ""), "aé😀");
        assert!(matches!(clean("cart-6c9f7"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_means_the_same() {
        let json = serde_json::to_string(DECEPTIVE).unwrap();
        let cleaned = clean_json(&json);
        assert!(cleaned.is_ascii() && !cleaned.contains(is_deceptive), "{cleaned}");
        assert_eq!(serde_json::from_str::<String>(&cleaned).unwrap(), DECEPTIVE);
    }
}
