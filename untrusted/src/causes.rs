//! What an error says, with everything that caused it.

use std::{error::Error, iter};

/// Returns the error's text and that of each of its causes, separated by colons.
///
/// Clients wrap what went wrong in several layers, and the outermost says only "error sending request".
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    causes(error).fold(String::new(), |text, error| {
        let said = error.to_string();
        // Some layers repeat the text of their cause.
        match text.as_str() {
            "" => said,
            text if text.contains(&said) => text.to_owned(),
            text => format!("{text}: {said}"),
        }
    })
}

/// Returns the error, then what caused it, then what caused that.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "can't read: {}", self.0)
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn each_cause_is_said_once() {
        let said = with_causes(&Outer(std::io::Error::other("refused")));
        assert_eq!(said, "can't read: refused");
    }
}
