//! Rewrites the original's spellings of the verbosity, which clap doesn't know, into one that it knows.

use std::ffi::OsString;

/// Rewrites every spelling of the verbosity (`-v`, `-vv`, `-v2`, `-v 2`, `--verbose 2`) as
/// `--verbose=LEVEL`. The next word belongs to it only if it is a number, which clap can't express.
pub(super) fn spell_out_verbosity(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter().peekable();
    let mut spelled_out = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" {
            spelled_out.push(word);
            break;
        }
        match word.to_str().and_then(verbosity_word) {
            Some(VerbosityWord::Level(level)) => spelled_out.push(format!("--verbose={level}").into()),
            Some(VerbosityWord::Bare) => {
                let number = words.next_if(|next| next.to_str().is_some_and(is_number));
                let mut verbose = OsString::from("--verbose=");
                verbose.push(number.unwrap_or_else(|| OsString::from("1")));
                spelled_out.push(verbose);
            }
            None => spelled_out.push(word),
        }
    }
    spelled_out.extend(words);
    spelled_out
}

/// A word that spells the verbosity.
enum VerbosityWord {
    /// `-v`, `--verbose`: the next word may be the level.
    Bare,
    /// `-v2`, `-vv`.
    Level(String),
}

fn verbosity_word(word: &str) -> Option<VerbosityWord> {
    let rest = match word {
        "--verbose" => "",
        _ => word.strip_prefix("-v")?,
    };
    if rest.is_empty() {
        Some(VerbosityWord::Bare)
    } else if is_number(rest) {
        Some(VerbosityWord::Level(rest.to_owned()))
    } else if rest.bytes().all(|byte| byte == b'v') {
        Some(VerbosityWord::Level((rest.len() + 1).to_string()))
    } else {
        None
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses a level: any number, as the original did. Numbers above 2 mean 2.
pub(super) fn parse_level(text: &str) -> Result<u8, &'static str> {
    if is_number(text) { Ok(text.parse().unwrap_or(u8::MAX)) } else { Err("expected 0, 1 or 2") }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn verbosity_is_spelled_out_and_nothing_else_is_touched() {
        for (line, spelled_out) in [
            ("-v replay x", "--verbose=1 replay x"),
            ("-v 2 replay x", "--verbose=2 replay x"),
            ("replay -v x", "replay --verbose=1 x"),
            ("replay -v -", "replay --verbose=1 -"),
            ("-v -1", "--verbose=1 -1"),
            ("-v 2x", "--verbose=1 2x"),
            ("-vx", "-vx"),
            ("--version", "--version"),
            ("--verbose=x", "--verbose=x"),
            ("replay -- -v 2", "replay -- -v 2"),
            ("replay v 2", "replay v 2"),
        ] {
            let words = spell_out_verbosity(line.split(' ').map(OsString::from));
            assert_eq!(words.join(OsStr::new(" ")), spelled_out, "{line}");
        }
    }
}
