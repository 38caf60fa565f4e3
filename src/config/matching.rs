//! Reads the `match` of a sink, which says which findings it gets: all given conditions must hold.

use finding::Finding;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use kube::core::{Expression, Selector, SelectorExt};
use settings::{ConfigSection, quote};

use super::selector;

/// Which findings a sink gets. A condition that is missing or an empty list always holds.
#[derive(Clone, Debug)]
pub struct FindingMatch {
    namespaces: Option<GlobSet>,
    labels: Selector,
    workload_kinds: Option<GlobSet>,
    workload_names: Option<GlobSet>,
    containers: Option<GlobSet>,
}

impl FindingMatch {
    /// Returns whether the sink gets this finding.
    pub fn matches(&self, finding: &Finding) -> bool {
        let workload = &finding.pod.workload;
        let names = [
            (&self.namespaces, &finding.namespace),
            (&self.workload_kinds, &workload.kind),
            (&self.workload_names, &workload.name),
            (&self.containers, &finding.container.name),
        ];
        names.iter().all(|(globs, name)| globs.as_ref().is_none_or(|globs| globs.is_match(name)))
            && self.labels.matches(&finding.pod.labels)
    }

    /// Returns the keys of the labels that it asks for.
    pub fn label_keys(&self) -> impl Iterator<Item = String> {
        self.labels.clone().into_iter().map(|expression| match expression {
            Expression::In(key, _)
            | Expression::NotIn(key, _)
            | Expression::Equal(key, _)
            | Expression::NotEqual(key, _)
            | Expression::Exists(key)
            | Expression::DoesNotExist(key) => key,
        })
    }

    /// Returns whether the sink gets every finding.
    pub fn is_everything(&self) -> bool {
        let globs = [&self.namespaces, &self.workload_kinds, &self.workload_names, &self.containers];
        self.labels.selects_all() && globs.iter().all(|globs| globs.is_none())
    }

    pub(super) fn read(section: &mut ConfigSection<'_>) -> Self {
        Self {
            namespaces: read_globs(section, "namespaces", false),
            labels: read_labels(section),
            // Many write `deployment`, and no two kinds differ only in case.
            workload_kinds: read_globs(section, "workload_kinds", true),
            workload_names: read_globs(section, "workload_names", false),
            containers: read_globs(section, "containers", false),
        }
    }
}

fn read_labels(section: &mut ConfigSection<'_>) -> Selector {
    let expected = r#"a label selector such as "team=shop,tier!=batch,env in (a,b),!legacy""#;
    let text = section.get_or("labels", String::new(), expected);
    selector::parse(&text).unwrap_or_else(|problem| {
        section.error("labels", problem, expected);
        Selector::default()
    })
}

/// Reads a list of globs. Returns `None` if it is empty.
pub(super) fn read_globs(
    section: &mut ConfigSection<'_>,
    key: &'static str,
    any_case: bool,
) -> Option<GlobSet> {
    let expected = r#"a list of globs such as ["shop-*", "search"]"#;
    let patterns: Vec<String> = section.get_or(key, Vec::new(), expected);
    let mut globs = GlobSetBuilder::new();
    for pattern in &patterns {
        match GlobBuilder::new(pattern).case_insensitive(any_case).build() {
            Ok(glob) if !pattern.is_empty() => {
                globs.add(glob);
            }
            Ok(_) => section.error(key, "has an empty glob", expected),
            Err(error) => section.error(key, format!("has {}: {}", quote(pattern), error.kind()), expected),
        }
    }
    let globs = globs.build().inspect_err(|error| section.error(key, error, expected)).ok()?;
    (!patterns.is_empty()).then_some(globs)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use figment::value::{Dict, Value};
    use finding::AffectedPod;

    use super::*;

    /// A kill in shop/cart-1 of the Deployment cart, container app.
    fn finding() -> Finding {
        let labels = [("team", "shop"), ("tier", "front")];
        let full = Finding::full();
        Finding {
            namespace: "shop-eu".to_owned(),
            pod: AffectedPod {
                name: "cart-1".to_owned(),
                labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                ..full.pod
            },
            ..full
        }
    }

    fn read(values: serde_json::Value) -> FindingMatch {
        let values: Dict = Value::serialize(values).unwrap().into_dict().unwrap();
        settings::read([settings::ConfigLayer::file(PathBuf::from("x"), values)], FindingMatch::read)
            .unwrap()
            .0
    }

    #[test]
    fn a_sink_gets_what_all_of_its_match_holds_for() {
        for (values, matches) in [
            (serde_json::json!({}), true),
            (serde_json::json!({"namespaces": [], "labels": "", "containers": []}), true),
            (serde_json::json!({"namespaces": ["shop-*"]}), true),
            (serde_json::json!({"namespaces": ["shop-??"]}), true),
            (serde_json::json!({"namespaces": ["x", "*-eu"]}), true),
            (serde_json::json!({"namespaces": ["{shop,search}-*"]}), true),
            (serde_json::json!({"namespaces": ["shop"]}), false),
            (serde_json::json!({"namespaces": ["shop-[a-d]*"]}), false),
            (serde_json::json!({"namespaces": ["SHOP-*"]}), false),
            (serde_json::json!({"labels": "team=shop,tier!=batch"}), true),
            (serde_json::json!({"labels": "team=shop,tier!=front"}), false),
            (serde_json::json!({"workload_kinds": ["deployment"]}), true),
            (serde_json::json!({"workload_kinds": ["*Set", "Job"]}), false),
            (serde_json::json!({"workload_names": ["c*t"]}), true),
            (serde_json::json!({"workload_names": ["cart-1"]}), false),
            (serde_json::json!({"containers": ["app"]}), true),
            (serde_json::json!({"containers": ["istio-*"]}), false),
            (serde_json::json!({"namespaces": ["shop-*"], "labels": "team", "containers": ["app"]}), true),
            (serde_json::json!({"namespaces": ["shop-*"], "labels": "team", "containers": ["x"]}), false),
        ] {
            assert_eq!(read(values.clone()).matches(&finding()), matches, "{values}");
        }
    }
}
