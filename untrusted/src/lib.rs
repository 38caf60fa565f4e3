//! How what others wrote is taken in and shown: an answer up to a bound, a text on one line, an error
//! with everything that caused it.

mod answer;
mod causes;

pub use answer::{ReadError, read_up_to, retry_after};
pub use causes::{causes, with_causes};

/// How much of a text of another's making is shown, in characters.
pub const MAX_SHOWN_CHARS: usize = 500;

/// Returns text that may be of another's making on one line, cut to [`MAX_SHOWN_CHARS`].
pub fn one_line(text: &str) -> String {
    let mut characters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = characters.by_ref().take(MAX_SHOWN_CHARS).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_on_one_line_and_not_whole() {
        assert_eq!(one_line(" a\n\u{1b}[31mb \r\n"), "a  [31mb");
        assert_eq!(one_line(&"é".repeat(1000)).chars().count(), MAX_SHOWN_CHARS + 1);
    }
}
