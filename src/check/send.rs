//! One test finding for each sink, and what became of it in a line.

use std::{env, time::Duration};

use cluster::{connect, current_namespace};
use finding::TestFinding;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::Client;
use settings::spell;
use sinks::{SinkContext, Tested};
use tokio::{task::spawn_blocking, time::timeout};

use super::print;
use crate::config::{Config, SinkConfig};

/// How long a kubeconfig's credential plugin may take: somebody may have to log in.
const CONNECT: Duration = Duration::from_mins(1);

/// Delivers a test finding to all sinks at once, and prints a line for each, in their order.
///
/// # Errors
///
/// A sentence that names the sinks that failed; or the lines can't be printed.
///
/// # Cancel safety
///
/// A test that is under way may arrive nevertheless; there is nothing to undo.
pub async fn send(config: &Config) -> Result<(), String> {
    print("\n")?;
    let test = test(config.cluster.clone());
    let tests = config.sinks.iter().map(async |sink| (sink, deliver(sink, &test).await));
    let mut tested = stream::iter(tests).buffered(config.sinks.len());
    let mut failed = Vec::new();
    while let Some((sink, tested)) = tested.next().await {
        if !matches!(tested, Tested::Delivered { .. }) {
            failed.push(sink.name.as_str());
        }
        print(&line(sink, &tested))?;
    }
    match failed.as_slice() {
        [] => Ok(()),
        names => Err(format!("the test did not reach every sink; what failed: {}", names.join(", "))),
    }
}

/// The Pod that the downward API names, else the namespace that kubectl would use.
fn test(cluster: Option<String>) -> TestFinding {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let namespace = variable("POD_NAMESPACE").or_else(current_namespace);
    TestFinding {
        cluster,
        namespace: namespace.unwrap_or_else(|| "default".to_owned()),
        pod: variable("POD_NAME"),
        sent_at: Timestamp::now(),
    }
}

async fn deliver(sink: &SinkConfig, test: &TestFinding) -> Tested {
    attempt(sink, test).await.unwrap_or_else(|reason| Tested::Refused { reason })
}

async fn attempt(sink: &SinkConfig, test: &TestFinding) -> Result<Tested, String> {
    // Where there is no cluster, that is the matter of this sink alone.
    let kubernetes = if sink.sink_type.needs_cluster { Some(client().await?) } else { None };
    let built = sink.settings.build(&SinkContext { kubernetes, only_stdout: false });
    let sink = built.map_err(|error| error.to_string())?;
    let limit = sink.limits().timeout;
    let tested = timeout(limit, sink.deliver_test(test)).await;
    Ok(tested.unwrap_or_else(|_| Tested::Retry {
        reason: format!("no answer within {}", spell(limit)),
        after: None,
    }))
}

async fn client() -> Result<Client, String> {
    let connected = timeout(CONNECT, spawn_blocking(connect)).await.map_err(|_| {
        format!(
            "the kubeconfig's credential plugin did not end within {}. Run `kubectl get pods` first",
            spell(CONNECT)
        )
    })?;
    connected.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

fn line(sink: &SinkConfig, tested: &Tested) -> String {
    let result = match tested {
        Tested::Delivered { place } => format!("delivered: {place}"),
        Tested::Refused { reason } => format!("failed: {reason}"),
        Tested::Retry { reason, after } => {
            let after = after.map(|after| format!(" after {}", spell(after))).unwrap_or_default();
            let reason = reason.trim_end_matches('.');
            format!(
                "failed: {reason}. The running program would try again{after}, for up to {}",
                spell(sink.retry_for)
            )
        }
    };
    let line = format!("{} ({}): {result}", sink.name, sink.sink_type.name);
    // Others' words are in it.
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).chain(['\n']).collect()
}
