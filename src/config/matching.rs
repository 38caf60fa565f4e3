//! Reads the `match` of a sink, which says which findings it gets: all given conditions must hold.

use finding::Finding;
use kube::core::{Expression, Selector, SelectorExt};
use settings::ConfigSection;

use super::{
    globs::{GlobList, NameKind},
    selector,
};

/// Which findings a sink gets. A condition that is missing or an empty list always holds.
#[derive(Clone, Debug)]
pub struct FindingMatch {
    namespaces: GlobList,
    pods: GlobList,
    labels: Selector,
    workload_kinds: GlobList,
    workload_names: GlobList,
    containers: GlobList,
}

impl FindingMatch {
    /// Returns whether the sink gets this finding. Of labels that aren't known any more, anything holds.
    pub fn matches(&self, finding: &Finding) -> bool {
        let workload = &finding.pod.workload;
        let names = [
            (&self.namespaces, &finding.namespace),
            (&self.pods, &finding.pod.name),
            (&self.workload_kinds, &workload.kind),
            (&self.workload_names, &workload.name),
            (&self.containers, &finding.container.name),
        ];
        names.iter().all(|(globs, name)| globs.gives(name))
            && finding.pod.labels.as_ref().is_none_or(|labels| self.labels.matches(labels))
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
        let globs =
            [&self.namespaces, &self.pods, &self.workload_kinds, &self.workload_names, &self.containers];
        self.labels.selects_all() && globs.iter().all(|globs| globs.is_empty())
    }

    pub(super) fn read(section: &mut ConfigSection<'_>) -> Self {
        Self {
            namespaces: GlobList::read(section, "namespaces", NameKind::Label),
            pods: GlobList::read(section, "pods", NameKind::Subdomain),
            labels: read_labels(section),
            workload_kinds: GlobList::read(section, "workload_kinds", NameKind::WorkloadKind),
            workload_names: GlobList::read(section, "workload_names", NameKind::Subdomain),
            containers: GlobList::read(section, "containers", NameKind::Label),
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use figment::value::{Dict, Value};
    use finding::AffectedPod;
    use serde_json::json;

    use super::*;

    /// A kill in shop-eu/cart-1 of the Deployment cart, container app.
    fn finding() -> Finding {
        let labels = [("team", "shop"), ("tier", "front")];
        let full = Finding::full();
        Finding {
            namespace: "shop-eu".to_owned(),
            pod: AffectedPod {
                name: "cart-1".to_owned(),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
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
            (json!({}), true),
            (json!({"namespaces": [], "labels": "", "containers": []}), true),
            (json!({"namespaces": ["shop-*"]}), true),
            (json!({"namespaces": ["shop-??"]}), true),
            (json!({"namespaces": ["x", "*-eu"]}), true),
            (json!({"namespaces": ["{shop,search}-*"]}), true),
            (json!({"namespaces": ["shop"]}), false),
            (json!({"namespaces": ["shop-[a-d]*"]}), false),
            (json!({"labels": "team=shop,tier!=batch"}), true),
            (json!({"labels": "team=shop,tier!=front"}), false),
            (json!({"workload_kinds": ["deployment"]}), true),
            (json!({"workload_kinds": ["*Set", "Job"]}), false),
            (json!({"workload_names": ["c*t"]}), true),
            (json!({"workload_names": ["cart-1"]}), false),
            (json!({"pods": ["cart-?"]}), true),
            (json!({"pods": ["cart"]}), false),
            (json!({"pods": ["!cart-*"]}), false),
            (json!({"containers": ["app"]}), true),
            (json!({"containers": ["istio-*"]}), false),
            (json!({"namespaces": ["shop-*"], "labels": "team", "containers": ["app"]}), true),
            (json!({"namespaces": ["shop-*"], "labels": "team", "containers": ["x"]}), false),
        ] {
            assert_eq!(read(values.clone()).matches(&finding()), matches, "{values}");
        }
    }
}
