//! Shows the beginning of an answer without the secrets that the receiver repeats in it.

use secrecy::{ExposeSecret, SecretString};
use untrusted::one_line;

use super::ReceiverUrl;

/// The shortest piece of a secret that is masked: shorter ones are in every text.
const MIN_PIECE_BYTES: usize = 4;

/// How much of an answer is shown, in characters.
const MAX_SHOWN_CHARS: usize = 200;

/// What must not be shown, the longest first.
#[derive(Default)]
pub(crate) struct SecretMask(Vec<SecretString>);

impl SecretMask {
    /// Masks a URL: its user, password, path and query, whole and piece by piece.
    pub(crate) fn url(&mut self, url: &ReceiverUrl) {
        let url = url.expose();
        self.add(url.as_str());
        self.add(url.path());
        self.add(url.username());
        self.add(url.password().unwrap_or_default());
        self.add(url.query().unwrap_or_default());
        for (key, value) in url.query_pairs() {
            self.add(&key);
            self.add(&value);
        }
        for piece in url.path_segments().into_iter().flatten() {
            self.add(piece);
            // `query_pairs` decodes as a path is decoded, too.
            let decoded = url::form_urlencoded::parse(piece.as_bytes()).map(|(piece, _)| piece.into_owned());
            decoded.for_each(|piece| self.add(&piece));
        }
    }

    /// Masks a secret, whole and word by word.
    pub(crate) fn text(&mut self, secret: &SecretString) {
        let secret = secret.expose_secret();
        self.add(secret.trim());
        secret.split_whitespace().for_each(|word| self.add(word));
    }

    fn add(&mut self, piece: &str) {
        if piece.len() >= MIN_PIECE_BYTES {
            self.0.push(piece.into());
            self.0.sort_by_key(|piece| std::cmp::Reverse(piece.expose_secret().len()));
        }
    }

    /// Returns a text with `***` in place of secrets.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, piece| replace_any_case(&text, piece.expose_secret()))
    }

    /// Returns the beginning of an answer on one line, with `***` in place of secrets. If it is only the beginning
    /// of an answer, its end may be a part of a secret, and is left out.
    pub(crate) fn show(&self, answer: &[u8], is_cut: bool) -> String {
        let mut text = self.hide(&String::from_utf8_lossy(answer));
        if is_cut {
            let longest = self.0.first().map_or(0, |piece| piece.expose_secret().len());
            text.truncate(text.floor_char_boundary(text.len().saturating_sub(longest)));
        }
        let line = one_line(&text);
        match line.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// Replaces a piece by `***`, in upper or lower case.
fn replace_any_case(text: &str, piece: &str) -> String {
    let (lower, piece) = (text.to_ascii_lowercase(), piece.to_ascii_lowercase());
    let mut replaced = String::with_capacity(text.len());
    let mut end = 0;
    for (at, _) in lower.match_indices(&piece) {
        replaced.push_str(&text[end..at]);
        replaced.push_str("***");
        end = at + piece.len();
    }
    replaced + &text[end..]
}
