//! Asks at the start for the rights that will be needed, so that a missing one is told before the first kill.

use std::{collections::HashSet, time::Duration};

use cluster::{AccessQuestion, RequestError, may, rbac_rule};
use futures::{StreamExt, stream};
use kube::Client;
use tokio::time::sleep;

use crate::{
    config::{Config, LeaseName},
    fanout::LedgerRights,
    source::scopes,
};

/// How many questions are asked at once.
const CONCURRENCY: usize = 8;
/// The first pause after a question without an answer.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// How often an API server may answer a question with an error before it counts as unanswered.
const MAX_REFUSALS: u32 = 10;

/// A right that the program needs.
#[derive(Clone, Debug)]
struct NeededRight {
    question: AccessQuestion,
    /// What happens without it.
    cost: &'static str,
}

/// Returns the rights that this configuration needs.
fn needed(config: &Config) -> Vec<NeededRight> {
    let blind = "without it, the program finds no kills there";
    let late = "without it, kills are found late, or reported again after a restart";
    let mut rights = vec![
        ("list", "pods", blind),
        ("watch", "pods", blind),
        ("list", "events", late),
        ("watch", "events", late),
    ];
    if config.sinks.iter().any(|sink| sink.sink_type.remembers) {
        rights.push(("create", "events", "without it, the sink kubernetes can't write Events"));
    }
    if needs_ledger(config) {
        let lost = "without it, what waits for sinks other than Kubernetes is lost if the program is killed";
        rights.push(("patch", "events", lost));
    }
    let scopes = scopes(config.namespaces.include()).into_iter();
    let everywhere = scopes.flat_map(|namespace| {
        rights.iter().map(move |(verb, resource, cost)| {
            let namespace = namespace.clone();
            NeededRight {
                question: AccessQuestion { verb, group: "", resource, name: None, namespace },
                cost,
            }
        })
    });
    everywhere.chain(needed_for_lease(config)).collect()
}

/// Returns the rights that leader election needs, if there are several replicas.
fn needed_for_lease(config: &Config) -> impl Iterator<Item = NeededRight> {
    let right = |lease: &LeaseName, verb, is_named: bool| NeededRight {
        question: AccessQuestion {
            verb,
            group: "coordination.k8s.io",
            resource: "leases",
            name: is_named.then(|| lease.name.clone()),
            namespace: Some(lease.namespace.clone()),
        },
        cost: "without it, this replica may never deliver",
    };
    // Kubernetes can't limit the right to create by name.
    let verbs = [("create", false), ("get", true), ("update", true)];
    config.lease.iter().flat_map(move |lease| verbs.map(|(verb, is_named)| right(lease, verb, is_named)))
}

/// Returns whether a ledger is of use: a sink writes Events, and there is another.
fn needs_ledger(config: &Config) -> bool {
    let remembers = |remembers| config.sinks.iter().any(|sink| sink.sink_type.remembers == remembers);
    remembers(true) && remembers(false)
}

/// Asks for all rights until there are answers, and logs which rights are missing, and the rule that grants each.
/// Returns where the ledger may be kept; nothing if the configuration needs none.
///
/// # Cancel safety
///
/// Cancel safe.
pub(super) async fn ask(client: &Client, config: &Config) -> Option<LedgerRights> {
    let questions = needed(config).into_iter().map(|right| ask_one(client, right));
    let answers: Vec<_> = stream::iter(questions).buffered(CONCURRENCY).collect().await;
    let patch = answers.into_iter().filter(|(question, allowed)| question.verb == "patch" && *allowed);
    let patch: HashSet<Option<String>> = patch.map(|(question, _)| question.namespace).collect();
    needs_ledger(config).then(|| LedgerRights {
        whole_cluster: patch.contains(&None),
        namespaces: patch.into_iter().flatten().collect(),
    })
}

async fn ask_one(client: &Client, right: NeededRight) -> (AccessQuestion, bool) {
    let NeededRight { question, cost } = right;
    let allowed = match answer(client, &question).await {
        Ok(allowed) => {
            if !allowed {
                tracing::warn!("{}; {cost}. {}", missing(&question), remedy(&question));
            }
            allowed
        }
        Err(error) => {
            let AccessQuestion { verb, resource, .. } = &question;
            tracing::warn!("can't ask whether this account may {verb} {resource}: {error}");
            false
        }
    };
    (question, allowed)
}

/// Asks until there is an answer, or nothing but errors.
async fn answer(client: &Client, question: &AccessQuestion) -> Result<bool, RequestError> {
    let (mut pause, mut refusals) = (MIN_PAUSE, 0);
    loop {
        let error = match may(client, question).await {
            Ok(allowed) => return Ok(allowed),
            Err(error) => error,
        };
        if let RequestError::Refused(refusal) = &error {
            refusals += 1;
            if matches!(refusal.code.as_u16(), 403..=405) || refusals >= MAX_REFUSALS {
                return Err(error);
            }
        }
        tracing::debug!("can't ask whether this account may {}: {error}", question.verb);
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

fn missing(AccessQuestion { verb, resource, namespace, .. }: &AccessQuestion) -> String {
    let place = match namespace {
        Some(namespace) => format!("in the namespace {namespace}"),
        None => "in the whole cluster".to_owned(),
    };
    format!("this account may not {verb} {resource} {place}")
}

fn remedy(AccessQuestion { verb, group, resource, name, namespace }: &AccessQuestion) -> String {
    let role = match namespace {
        Some(namespace) => format!("a Role in namespace {namespace}"),
        None => "a ClusterRole".to_owned(),
    };
    format!("Grant it by {role} with the rule {}", rbac_rule(group, resource, name.as_deref(), verb))
}
