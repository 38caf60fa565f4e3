//! Asks at the start for the rights that will be needed, so that a missing one is told before the first kill.

use std::{collections::HashSet, time::Duration};

use cluster::{AccessQuestion, RequestError, may, rbac_rule};
use futures::{StreamExt, stream};
use kube::Client;
use tokio::time::sleep;

use crate::{config::Config, fanout::LedgerRights, source::scopes};

/// How many questions are asked at once.
const CONCURRENCY: usize = 8;
/// The first pause after a question without an answer.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// How often an API server may answer a question with an error before it counts as unanswered.
const MAX_REFUSALS: u32 = 10;

/// A right that the program needs wherever it watches.
#[derive(Clone, Copy, Debug)]
struct NeededRight {
    verb: &'static str,
    resource: &'static str,
    /// What happens without it.
    cost: &'static str,
}

/// Returns the rights that this configuration needs.
fn needed(config: &Config) -> Vec<NeededRight> {
    let right = |verb, resource, cost| NeededRight { verb, resource, cost };
    let blind = "without it, the program finds no kills there";
    let late = "without it, kills are found late, or reported again after a restart";
    let mut rights = vec![
        right("list", "pods", blind),
        right("watch", "pods", blind),
        right("list", "events", late),
        right("watch", "events", late),
    ];
    if config.sinks.iter().any(|sink| sink.sink_type.remembers) {
        rights.push(right("create", "events", "without it, the sink kubernetes can't write Events"));
    }
    if needs_ledger(config) {
        let lost = "without it, what waits for sinks other than Kubernetes is lost if the program is killed";
        rights.push(right("patch", "events", lost));
    }
    rights
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
    let rights = needed(config);
    let mut questions = Vec::new();
    for namespace in scopes(config.namespaces.include()) {
        questions.extend(rights.iter().map(|right| ask_one(client, *right, namespace.clone())));
    }
    let answers: Vec<_> = stream::iter(questions).buffered(CONCURRENCY).collect().await;
    let patch = answers.into_iter().filter(|(question, allowed)| question.verb == "patch" && *allowed);
    let patch: HashSet<Option<String>> = patch.map(|(question, _)| question.namespace).collect();
    needs_ledger(config).then(|| LedgerRights {
        whole_cluster: patch.contains(&None),
        namespaces: patch.into_iter().flatten().collect(),
    })
}

async fn ask_one(client: &Client, right: NeededRight, namespace: Option<String>) -> (AccessQuestion, bool) {
    let NeededRight { verb, resource, cost } = right;
    let question = AccessQuestion { verb, resource, namespace };
    let allowed = match answer(client, &question).await {
        Ok(allowed) => {
            if !allowed {
                tracing::warn!("{}; {cost}. {}", missing(&question), remedy(&question));
            }
            allowed
        }
        Err(error) => {
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

fn missing(AccessQuestion { verb, resource, namespace }: &AccessQuestion) -> String {
    let place = match namespace {
        Some(namespace) => format!("in the namespace {namespace}"),
        None => "in the whole cluster".to_owned(),
    };
    format!("this account may not {verb} {resource} {place}")
}

fn remedy(AccessQuestion { verb, resource, namespace }: &AccessQuestion) -> String {
    let role = match namespace {
        Some(namespace) => format!("a Role in namespace {namespace}"),
        None => "a ClusterRole".to_owned(),
    };
    format!("Grant it by {role} with the rule {}", rbac_rule("", resource, None, verb))
}
