//! The link of a message: a URL that the configuration gives, with names of the kill in it.

use std::fmt::Write;

use finding::Finding;
use reqwest::Url;

/// The longest link that a message has. Longer ones come only of names that Kubernetes doesn't allow.
const MAX_LINK_BYTES: usize = 1_000;

/// A URL with placeholders.
#[derive(Clone, Debug)]
pub(super) struct LinkTemplate(Vec<LinkPart>);

#[derive(Clone, Debug)]
enum LinkPart {
    Text(String),
    Placeholder(LinkPlaceholder),
}

#[derive(Clone, Copy, Debug)]
enum LinkPlaceholder {
    Cluster,
    Namespace,
    WorkloadKind,
    Workload,
    Pod,
    Container,
    Node,
}

impl LinkPlaceholder {
    const ALL: [(&'static str, Self); 7] = [
        ("cluster", Self::Cluster),
        ("namespace", Self::Namespace),
        ("workload_kind", Self::WorkloadKind),
        ("workload", Self::Workload),
        ("pod", Self::Pod),
        ("container", Self::Container),
        ("node", Self::Node),
    ];

    fn value(self, finding: &Finding) -> &str {
        let workload = &finding.pod.workload;
        match self {
            Self::Cluster => finding.cluster.as_deref().unwrap_or_default(),
            Self::Namespace => &finding.namespace,
            Self::WorkloadKind => &workload.kind,
            Self::Workload => &workload.name,
            Self::Pod => &finding.pod.name,
            Self::Container => &finding.container.name,
            Self::Node => finding.pod.node.as_deref().unwrap_or_default(),
        }
    }
}

impl LinkTemplate {
    /// What a configuration may say.
    pub(super) const EXPECTED: &str = "an http or https URL, perhaps with {cluster}, {namespace}, {workload_kind}, \
                                       {workload}, {pod}, {container} or {node}";

    /// Parses the configuration's text.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("has a { without a }")?;
            let known = LinkPlaceholder::ALL.into_iter().find(|(known, _)| *known == name);
            let (_, placeholder) = known.ok_or_else(|| format!("has the unknown placeholder {{{name}}}"))?;
            parts.push(LinkPart::Text(before.to_owned()));
            parts.push(LinkPart::Placeholder(placeholder));
            rest = after;
        }
        parts.push(LinkPart::Text(rest.to_owned()));
        let link = Self(parts);
        let url = Url::parse(&link.fill(|_| "x")).map_err(|error| format!("is no URL ({error})"))?;
        if ["http", "https"].contains(&url.scheme()) { Ok(link) } else { Err("is no web address".to_owned()) }
    }

    /// Returns the link for a kill as Slack shows one, unless it would be too long.
    pub(super) fn of(&self, finding: &Finding) -> Option<String> {
        let url = self.fill(|placeholder| placeholder.value(finding));
        let url = url.replace('&', "&amp;").replace('<', "%3C").replace('>', "%3E").replace('|', "%7C");
        (url.len() <= MAX_LINK_BYTES).then(|| format!("<{url}|Look closer>"))
    }

    fn fill<'a>(&self, value: impl Fn(LinkPlaceholder) -> &'a str) -> String {
        let mut url = String::new();
        for part in &self.0 {
            match part {
                LinkPart::Text(text) => url += text,
                LinkPart::Placeholder(placeholder) => url += &percent_encoded(value(*placeholder)),
            }
        }
        url
    }
}

/// Returns text as it may stand anywhere in a URL (RFC 3986: all but the unreserved characters escaped).
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            write!(encoded, "%{byte:02X}").unwrap_or_default();
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_wherever_they_stand() {
        let link = LinkTemplate::parse(
            "https://grafana.example/d/x?var-cluster={cluster}&ns={namespace}&k={workload_kind}&w={workload}\
             &p={pod}&c={container}&n={node}",
        );
        let mut finding = Finding::full();
        finding.cluster = None;
        finding.pod.workload.name = "a&b=<c>|d/é".to_owned();
        assert_eq!(
            link.unwrap().of(&finding).unwrap(),
            "<https://grafana.example/d/x?var-cluster=&amp;ns=shop&amp;k=Deployment\
             &amp;w=a%26b%3D%3Cc%3E%7Cd%2F%C3%A9&amp;p=cart-6c9f7-x2x&amp;c=app&amp;n=n1|Look closer>"
        );
    }

    #[test]
    fn what_is_no_link_is_explained() {
        for (text, problem) in [
            ("https://x/{team}", "has the unknown placeholder {team}"),
            ("https://x/{pod", "has a { without a }"),
            ("grafana/{pod}", "is no URL (relative URL without a base)"),
            ("javascript:alert(1)", "is no web address"),
        ] {
            assert_eq!(LinkTemplate::parse(text).unwrap_err(), problem);
        }
    }

    #[test]
    fn a_link_that_is_too_long_is_left_out() {
        let mut finding = Finding::full();
        finding.pod.name = "ä".repeat(500);
        assert_eq!(LinkTemplate::parse("https://x/{pod}").unwrap().of(&finding), None);
    }
}
