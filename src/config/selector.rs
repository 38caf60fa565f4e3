//! Parses a label selector in the syntax of `kubectl get --selector` into kube's [`Selector`].
//!
//! kube has no parser for it. The grammar is that of `k8s.io/apimachinery/pkg/labels`, without `<` and `>`.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector};
use settings::quote;
use thiserror::Error;

/// What is wrong with a selector: completes the sentence "the selector …".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum SelectorError {
    #[error("has {} where {expected} belongs", quote(found))]
    Unexpected { found: String, expected: &'static str },
    #[error("ends where {expected} belongs")]
    Ends { expected: &'static str },
    #[error("has no list in brackets after in or notin")]
    NoList,
}

/// Parses requirements separated by commas. All of them must hold; without any, everything is selected.
pub(super) fn parse(text: &str) -> Result<Selector, SelectorError> {
    let mut tokens = SelectorTokens { rest: text };
    let mut requirements = Vec::new();
    if tokens.peek().is_none() {
        return Ok(Selector::default());
    }
    loop {
        requirements.push(tokens.requirement()?);
        match tokens.next() {
            Some(",") => {}
            None => return Ok(requirements.into_iter().collect()),
            Some(token) => return Err(unexpected(token, "a comma")),
        }
    }
}

fn unexpected(token: &str, expected: &'static str) -> SelectorError {
    SelectorError::Unexpected { found: token.to_owned(), expected }
}

/// The rest of a selector, from which words and symbols are read.
struct SelectorTokens<'a> {
    rest: &'a str,
}

impl<'a> SelectorTokens<'a> {
    fn peek(&self) -> Option<&'a str> {
        const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", "<", ">"];
        let rest = self.rest.trim_start();
        let ends_word = |letter: char| letter.is_whitespace() || is_symbol(letter);
        let length = match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            Some(symbol) => symbol.len(),
            None => rest.find(ends_word).unwrap_or(rest.len()),
        };
        (length > 0).then(|| &rest[..length])
    }

    fn next(&mut self) -> Option<&'a str> {
        let token = self.peek()?;
        self.rest = &self.rest.trim_start()[token.len()..];
        Some(token)
    }

    fn requirement(&mut self) -> Result<Expression, SelectorError> {
        if self.peek() == Some("!") {
            self.next();
            return self.key().map(Expression::DoesNotExist);
        }
        let key = self.key()?;
        let operator = self.peek().filter(|token| *token != ",");
        if operator.is_some() {
            self.next();
        }
        Ok(match operator {
            None => Expression::Exists(key),
            Some("=" | "==") => Expression::Equal(key, self.value()?),
            Some("!=") => Expression::NotEqual(key, self.value()?),
            Some("in") => Expression::In(key, self.values()?),
            Some("notin") => Expression::NotIn(key, self.values()?),
            Some(token) => return Err(unexpected(token, "=, ==, !=, in or notin")),
        })
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        let expected = "a label's key";
        match self.next() {
            Some(key) if is_key(key) => Ok(key.to_owned()),
            Some(token) => Err(unexpected(token, expected)),
            None => Err(SelectorError::Ends { expected }),
        }
    }

    /// Reads a value. An empty one is written as nothing.
    fn value(&mut self) -> Result<String, SelectorError> {
        let value = self.peek().filter(|token| ![",", ")"].contains(token));
        if value.is_some() {
            self.next();
        }
        match value.unwrap_or_default() {
            value if value.is_empty() || is_name(value) => Ok(value.to_owned()),
            token => Err(unexpected(token, "a label's value")),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let mut values = BTreeSet::new();
        let mut separator = self.next().filter(|token| *token == "(");
        while separator.is_some_and(|token| token != ")") {
            values.insert(self.value()?);
            separator = self.next().filter(|token| [",", ")"].contains(token));
        }
        separator.map(|_| values).ok_or(SelectorError::NoList)
    }
}

fn is_symbol(letter: char) -> bool {
    "=!(),<>".contains(letter)
}

/// Returns whether it is a label's key: a name, optionally after a DNS subdomain and a slash.
fn is_key(key: &str) -> bool {
    let Some((prefix, name)) = key.split_once('/') else { return is_name(key) };
    let is_label = |label: &str| {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        label.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
            && label.bytes().next().is_some_and(alphanumeric)
            && label.bytes().last().is_some_and(alphanumeric)
    };
    is_name(name) && prefix.len() <= 253 && prefix.split('.').all(is_label)
}

/// Returns whether it is a label's name, or a value that isn't empty.
fn is_name(name: &str) -> bool {
    let alphanumeric = |letter: char| letter.is_ascii_alphanumeric();
    name.len() <= 63
        && name.chars().all(|letter| alphanumeric(letter) || "-_.".contains(letter))
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::core::SelectorExt;

    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split_terminator(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn selects_what_kubernetes_selects() {
        // The rows with x, y and z are those of TestSelectorMatches in k8s.io/apimachinery.
        for (selector, matching, other) in [
            ("", "x=y", None),
            ("x=y", "x=y", Some("x=z")),
            ("x=y,z=w", "x=y,z=w", Some("x=z,z=w")),
            ("x!=y,z!=w", "x=z,z=a", Some("x=z,z=w")),
            ("x!=y", "", Some("x=y")),
            ("notin=in", "notin=in", Some("notin=x")),
            ("x", "x=z", Some("y=z")),
            ("!x", "y=z", Some("x=z")),
            ("x in (a,b)", "x=b", Some("x=c")),
            ("x in (a)", "x=a", Some("")),
            ("x notin (a,b)", "x=c", Some("x=a")),
            ("x notin (a)", "", Some("x=a")),
            ("x==a", "x=a", Some("x=b")),
            ("x=", "x=", Some("x=a")),
            ("x=,y=b", "x=,y=b", Some("y=b")),
            ("x in ()", "x=", Some("x=a")),
            ("x in (,a)", "x=", Some("x=b")),
            ("  x  in ( a , b ) , ! y  ", "x=a", Some("x=a,y=b")),
            ("x=in,y=notin", "x=in,y=notin", Some("x=in")),
            ("app.kubernetes.io/name=cart", "app.kubernetes.io/name=cart", Some("name=cart")),
            ("team=shop,tier!=batch", "team=shop", Some("team=shop,tier=batch")),
        ] {
            let parsed = parse(selector).expect(selector);
            assert!(parsed.matches(&labels(matching)), "{selector} and {matching}");
            assert!(!other.is_some_and(|other| parsed.matches(&labels(other))), "{selector} and {other:?}");
        }
    }

    #[test]
    fn refuses_what_kubernetes_refuses() {
        for (selector, problem) in [
            (",", r#"has "," where a label's key belongs"#),
            ("x=a,", "ends where a label's key belongs"),
            ("x=a,,y=b", r#"has "," where a label's key belongs"#),
            ("x=a y=b", r#"has "y" where a comma belongs"#),
            ("x in a", "has no list in brackets after in or notin"),
            ("x in (a", "has no list in brackets after in or notin"),
            ("x in (a b)", "has no list in brackets after in or notin"),
            ("!x=a", r#"has "=" where a comma belongs"#),
            ("x=!a", r#"has "!" where a label's value belongs"#),
            ("x===a", r#"has "=" where a label's value belongs"#),
            ("x > 5", r#"has ">" where =, ==, !=, in or notin belongs"#),
            ("x y", r#"has "y" where =, ==, !=, in or notin belongs"#),
            ("in (a)", r#"has "(" where =, ==, !=, in or notin belongs"#),
            ("-x=a", r#"has "-x" where a label's key belongs"#),
            ("Example.com/x=a", r#"has "Example.com/x" where a label's key belongs"#),
            ("a/b/c=a", r#"has "a/b/c" where a label's key belongs"#),
            ("x=a*", r#"has "a*" where a label's value belongs"#),
        ] {
            assert_eq!(parse(selector).expect_err(selector).to_string(), problem, "{selector}");
        }
    }
}
