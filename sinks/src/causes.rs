//! What an error says, with everything that caused it.

use std::error::Error;

/// The error's text and that of each of its causes, separated by colons.
///
/// Clients wrap what went wrong in several layers, and the outermost says only "error sending request".
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some layers repeat the text of their cause.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
