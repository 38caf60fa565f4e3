//! Reads which namespaces are watched, and which of them are left out.

use settings::{ConfigSection, quote};

use super::globs::{GlobList, NameKind};

/// The namespaces whose Pods count.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    include: Vec<String>,
    exclude: GlobList,
}

impl Namespaces {
    /// Returns the namespaces to watch, each once; empty for the whole cluster.
    pub fn include(&self) -> &[String] {
        &self.include
    }

    /// Returns whether kills in a namespace are reported.
    pub fn selects(&self, namespace: &str) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|name| name == namespace);
        included && !self.exclude.matches_any(namespace)
    }

    /// Returns one namespace, and no other.
    pub fn only(name: &str) -> Self {
        Self { include: vec![name.to_owned()], ..Self::default() }
    }

    pub(super) fn read(section: &mut ConfigSection<'_>) -> Self {
        let expected = r#"a list of names such as ["shop", "search"]"#;
        let mut include: Vec<String> = section.get_or("include", Vec::new(), expected);
        include.sort();
        include.dedup();
        for name in include.iter().filter(|name| !is_namespace_name(name)) {
            let problem = format!("has {}", quote(name));
            section.error(
                "include",
                problem,
                "names of namespaces, whole: a-z, 0-9 and -, at most 63 (globs are for exclude)",
            );
        }
        let exclude = GlobList::read_plain(section, "exclude", NameKind::Label);
        let namespaces = Self { include, exclude };
        if !namespaces.include.is_empty() && !namespaces.include.iter().any(|name| namespaces.selects(name)) {
            section.error(
                "exclude",
                "leaves none of the namespaces in include",
                "at least one of them to be left",
            );
        }
        namespaces
    }
}

/// Returns whether it is a DNS label (RFC 1123), which the API server requires of a namespace's name.
pub fn is_namespace_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    letters && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}
