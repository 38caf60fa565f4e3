//! Reads JSON in which some value is one that no reader takes in, such as `1e999`: it is unknown, and the rest counts.

use serde::{Deserialize, de::DeserializeOwned};

/// Reads JSON; if it can't be read as it is, without the values that hinder.
///
/// # Errors
///
/// It is no JSON, or says something else. The error is of the text as it is.
pub(super) fn read_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    from_json(json).or_else(|error| {
        let mended = mended(json);
        serde_json::from_str(&mended).map_err(|_| error)
    })
}

/// Reads JSON as it is.
///
/// It checks the whole for UTF-8 first: that is faster than string by string, and all that is decoded
/// then shares one kind of reader, which halves its code.
pub(super) fn from_json<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_str(str::from_utf8(json).map_err(serde::de::Error::custom)?)
}

/// Returns JSON with `null` for numbers that are too large, and U+FFFD for halves of surrogate pairs and what is no
/// UTF-8.
fn mended(json: &[u8]) -> String {
    let mut json = String::from_utf8_lossy(json).into_owned().into_bytes();
    let (mut at, mut in_string) = (0, false);
    while at < json.len() {
        at += match json[at] {
            b'"' => {
                in_string = !in_string;
                1
            }
            b'\\' if in_string => mend_escape(&mut json[at..]),
            b'-' | b'0'..=b'9' if !in_string => mend_number(&mut json[at..]),
            _ => 1,
        };
    }
    // Nothing but ASCII was put in the place of ASCII.
    String::from_utf8(json).unwrap_or_default()
}

/// Mends the number that the text begins with. Returns how long it is.
fn mend_number(text: &mut [u8]) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let length = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    let number = str::from_utf8(&text[..length]).ok().and_then(|number| number.parse::<f64>().ok());
    if number.is_some_and(f64::is_infinite) {
        text[..length].fill(b' ');
        text[..4].copy_from_slice(b"null");
    }
    length
}

/// Mends the escape that the text begins with. Returns how long it is.
fn mend_escape(text: &mut [u8]) -> usize {
    match (surrogate(text), text.get(6..).and_then(surrogate)) {
        (None, _) => 2,
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
        (Some(_), _) => {
            text[2..6].copy_from_slice(b"fffd");
            6
        }
    }
}

/// Returns the half of a surrogate pair that the text begins with, if it does.
fn surrogate(text: &[u8]) -> Option<u16> {
    let digits = text.get(..6)?.strip_prefix(br"\u")?;
    let unit = u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_no_reader_takes_in_is_unknown_and_the_rest_counts() {
        for (text, meant) in [
            (&br#"{"a": 1e999, "b": [-1E+400 ,2.5e3]}"#[..], json!({"a": null, "b": [null, 2500.0]})),
            (br#"{"1e999": "1e999 \" 1e999", "c": 1e999}"#, json!({"1e999": "1e999 \" 1e999", "c": null})),
            (
                br#"["\ud800x", "\udc00", "\ud83d\ude00", "\\ud800"]"#,
                json!(["\u{fffd}x", "\u{fffd}", "😀", "\\ud800"]),
            ),
            (br#"["\ud800\ud800", "\ud800\n"]"#, json!(["\u{fffd}\u{fffd}", "\u{fffd}\n"])),
            (b"[\"\xff\", 1]", json!(["\u{fffd}", 1])),
        ] {
            assert_eq!(read_json::<Value>(text).unwrap(), meant, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_of_the_text_as_it_is() {
        for text in [&b"{\"a\": 1e999"[..], b"\"\\", b"\"\\ud8", b"-", b"{\"a\":\n1e999 x}"] {
            let error = read_json::<Value>(text).unwrap_err().to_string();
            assert_eq!(error, from_json::<Value>(text).unwrap_err().to_string());
        }
    }
}
