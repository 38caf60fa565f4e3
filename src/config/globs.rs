//! Reads lists of globs for names. One that begins with `!` takes away what those before it gave.

use globset::{GlobBuilder, GlobMatcher};
use settings::{ConfigSection, quote};

/// Globs in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct GlobList(Vec<NameGlob>);

/// One of them.
#[derive(Clone, Debug)]
struct NameGlob {
    matcher: GlobMatcher,
    /// Whether it takes names away.
    excludes: bool,
}

/// What Kubernetes allows a name to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// Of namespaces and containers: RFC 1123's label.
    Label,
    /// Of Pods and workloads: RFC 1123's subdomain.
    Subdomain,
    /// Of kinds of workloads: letters and digits. Many write `deployment`, and no two kinds differ only in case.
    WorkloadKind,
}

impl GlobList {
    /// Returns whether it is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether it gives a name: the last glob that matches it decides. A name that none matches is given
    /// if the list is empty or all of it are exclusions.
    pub(super) fn gives(&self, name: &str) -> bool {
        let last = self.0.iter().rev().find(|glob| glob.matcher.is_match(name));
        last.map_or_else(|| self.0.iter().all(|glob| glob.excludes), |glob| !glob.excludes)
    }

    /// Returns whether one of its globs matches a name.
    pub(super) fn matches_any(&self, name: &str) -> bool {
        self.0.iter().any(|glob| glob.matcher.is_match(name))
    }

    /// Reads a list for a `match`.
    pub(super) fn read(section: &mut ConfigSection<'_>, key: &'static str, kind: NameKind) -> Self {
        Self::read_with(
            section,
            key,
            kind,
            r#"a list of globs such as ["shop-*", "!shop-test", "search"]"#,
            true,
        )
    }

    /// Reads a list in which nothing is taken away.
    pub(super) fn read_plain(section: &mut ConfigSection<'_>, key: &'static str, kind: NameKind) -> Self {
        Self::read_with(section, key, kind, r#"a list of globs such as ["shop-*", "search"]"#, false)
    }

    fn read_with(
        section: &mut ConfigSection<'_>,
        key: &'static str,
        kind: NameKind,
        expected: &str,
        may_exclude: bool,
    ) -> Self {
        let written: Vec<String> = section.get_or(key, Vec::new(), expected);
        let mut list = Self::default();
        for text in &written {
            let exclusion = text.strip_prefix('!').filter(|_| may_exclude);
            let pattern = exclusion.unwrap_or(text);
            match NameGlob::new(pattern, exclusion.is_some(), kind).and_then(|glob| list.push(glob, pattern))
            {
                Ok(()) => {}
                Err(problem) if pattern.is_empty() => section.error(key, problem, expected),
                Err(problem) => section.error(key, format!("has {}: {problem}", quote(text)), expected),
            }
        }
        list
    }

    /// Adds a glob, unless it is a name that the globs before it already decide on.
    fn push(&mut self, glob: NameGlob, pattern: &str) -> Result<(), String> {
        let is_name = !pattern.contains(['*', '?', '[', ']', '{', '}', '\\']);
        if glob.excludes && is_name && !self.gives(pattern) {
            return Err("the globs before it don't give it, so it takes nothing away".to_owned());
        }
        if !glob.excludes && !self.0.is_empty() && self.0.iter().all(|earlier| earlier.excludes) {
            return Err("the exclusions before it take nothing away from it: write it before them".to_owned());
        }
        if glob.excludes && self.0.iter().any(|earlier| !earlier.excludes) {
            let names = self.0.iter().filter(|earlier| !earlier.excludes);
            if names.clone().all(|name| glob.matcher.is_match(name.matcher.glob().glob())) {
                return Err("it takes away all that the globs before it give".to_owned());
            }
        }
        self.0.push(glob);
        Ok(())
    }
}

impl NameGlob {
    fn new(pattern: &str, excludes: bool, kind: NameKind) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("has an empty glob".to_owned());
        }
        let any_case = kind == NameKind::WorkloadKind;
        let glob = GlobBuilder::new(pattern).case_insensitive(any_case).build();
        let glob = glob.map_err(|error| error.kind().to_string())?;
        kind.could_match(pattern)?;
        Ok(Self { matcher: glob.compile_matcher(), excludes })
    }
}

impl NameKind {
    fn allows(self, c: char) -> bool {
        match self {
            Self::Label => c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
            Self::Subdomain => c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.',
            Self::WorkloadKind => c.is_ascii_alphanumeric(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Label => "lower-case letters, digits and -, at most 63",
            Self::Subdomain => "lower-case letters, digits, - and ., at most 253",
            Self::WorkloadKind => "letters and digits, at most 63",
        }
    }

    fn max_length(self) -> usize {
        if self == Self::Subdomain { 253 } else { 63 }
    }

    /// Returns why a valid glob matches no name of this kind, as far as its characters show.
    fn could_match(self, pattern: &str) -> Result<(), String> {
        let mut least = 0;
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            let (allowed, shown) = match c {
                '*' | '{' | '}' | ',' => continue,
                '?' => (true, c),
                '[' => (self.allows_one_of(&class(&mut rest)), c),
                '\\' => rest.next().map_or((true, c), |escaped| (self.allows(escaped), escaped)),
                c => (self.allows(c), c),
            };
            if !allowed {
                return Err(format!("it matches no name, because of {shown:?}: names have {}", self.words()));
            }
            least += 1;
        }
        if least > self.max_length() && !pattern.contains('{') {
            return Err(format!("it matches no name, because it is too long: names have {}", self.words()));
        }
        if pattern.starts_with(['-', '.']) || pattern.ends_with(['-', '.']) {
            return Err("it matches no name: names begin and end with a letter or digit".to_owned());
        }
        Ok(())
    }

    fn allows_one_of(self, class: &str) -> bool {
        let Ok(glob) = GlobBuilder::new(class).case_insensitive(self == Self::WorkloadKind).build() else {
            return true;
        };
        let matcher = glob.compile_matcher();
        ('-'..='z').filter(|c| self.allows(*c)).any(|c| matcher.is_match(c.to_string()))
    }
}

/// Takes the rest of a class of characters, such as `[a-z]`, and returns the whole.
fn class(rest: &mut std::str::Chars<'_>) -> String {
    let mut class = "[".to_owned();
    for c in rest {
        class.push(c);
        // A bracket right at the beginning stands for itself.
        if c == ']' && !["[]", "[!]", "[^]"].contains(&class.as_str()) {
            break;
        }
    }
    class
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use figment::value::{Dict, Value};
    use serde_json::json;

    use super::*;

    fn read(globs: &[&str], kind: NameKind) -> Result<GlobList, String> {
        let values: Dict = Value::serialize(json!({ "x": globs })).unwrap().into_dict().unwrap();
        let layers = [settings::ConfigLayer::file(PathBuf::from("file"), values)];
        let read = settings::read(layers, |section| GlobList::read(section, "x", kind));
        read.map(|(list, _)| list).map_err(|errors| errors.to_string())
    }

    #[test]
    fn an_exclusion_takes_away_what_the_globs_before_it_gave() {
        for (globs, given, taken) in [
            (&[][..], "abc d", ""),
            (&["a", "b"], "a b", "c abc"),
            (&["!a"], "b abc", "a"),
            (&["!a", "!b*"], "c abc", "a b bc"),
            (&["a*", "!abc"], "a abcd", "abc b"),
            (&["a*", "!ab*", "abc"], "a abc", "ab abcd b"),
            (&["*", "![ab]"], "c abc", "a b"),
            (&["!kube-*", "!monitoring"], "shop", "kube-system monitoring"),
        ] {
            let list = read(globs, NameKind::Label).unwrap();
            assert!(
                given.split_whitespace().all(|name| list.gives(name)),
                "{globs:?} doesn't give all of {given}"
            );
            assert!(!taken.split_whitespace().any(|name| list.gives(name)), "{globs:?} gives one of {taken}");
        }
    }

    #[test]
    fn a_glob_that_can_match_nothing_is_an_error() {
        use NameKind::{Label, Subdomain, WorkloadKind};
        for (globs, kind, problem) in [
            (&["Shop-*"][..], Label, "has \"Shop-*\": it matches no name, because of 'S'"),
            (&["shop_*"], Label, "because of '_'"),
            (&["shop.*"], Label, "because of '.'"),
            (&["shop/*"], Subdomain, "because of '/'"),
            (&["shop *"], Label, "because of ' '"),
            (&["[A-Z]*"], Label, "because of '['"),
            (&["!!shop"], Label, "because of '!'"),
            (&["-*"], Label, "names begin and end with a letter or digit"),
            (&["Deployment/cart"], WorkloadKind, "because of '/'"),
            (&["!"], Label, "has an empty glob"),
            (&["shop", "!search"], Label, "has \"!search\": the globs before it don't give it"),
            (&["shop", "!shop"], Label, "it takes away all that the globs before it give"),
            (&["shop", "search", "!s*"], Label, "it takes away all that the globs before it give"),
            (&["!shop", "!shop"], Label, "it takes nothing away"),
            (&["!shop-test", "shop-*"], Label, "has \"shop-*\": the exclusions before it take nothing away"),
        ] {
            let error = read(globs, kind).expect_err(&format!("{globs:?}"));
            assert!(error.contains(problem), "{error}");
        }
        let long = "a".repeat(64);
        assert!(read(&[&long], Label).is_err() && read(&[&long], Subdomain).is_ok());
        for globs in
            [&["shop-*", "!shop-test"][..], &["{a,b}-*"], &["[!a-z]*"], &["*", "!*-test"], &["a?[0-9]"]]
        {
            assert!(read(globs, Label).is_ok(), "{globs:?}");
        }
        assert!(read(&["deployment", "STATEFUL*", "[d-f]*"], WorkloadKind).is_ok());
    }
}
