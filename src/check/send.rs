//! Delivers a test finding to each sink, and prints in a line what became of it.

use cluster::{ConnectError, current_namespace};
use finding::TestFinding;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::Client;
use settings::spell;
use sinks::{SinkBuildError, SinkContext, TestOutcome};
use thiserror::Error;
use tokio::time::timeout;
use untrusted::{clean, with_causes};

use super::{CheckError, print};
use crate::config::{Config, SinkConfig};

/// Why no test finding could be sent.
#[derive(Debug, Error)]
enum AttemptError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Build(#[from] SinkBuildError),
}

/// Delivers a test finding to all sinks at once, and prints a line for each, in their order. `connect` makes
/// the cluster's client.
///
/// # Errors
///
/// A sink failed, or the lines can't be printed.
///
/// # Cancel safety
///
/// A test that is under way may still arrive.
pub async fn send(
    config: &Config,
    connect: impl Fn() -> Result<Client, ConnectError>,
) -> Result<(), CheckError> {
    print("\n")?;
    let test = test(config);
    let tests = config.sinks.iter().map(async |sink| (sink, deliver(sink, &test, &connect).await));
    let mut tested = stream::iter(tests).buffered(config.sinks.len());
    let mut failed = Vec::new();
    while let Some((sink, tested)) = tested.next().await {
        if !matches!(tested, TestOutcome::Delivered { .. }) {
            failed.push(sink.name.clone());
        }
        print(&line(sink, &tested))?;
    }
    if failed.is_empty() { Ok(()) } else { Err(CheckError::Undelivered(failed)) }
}

/// Makes a test finding about the Pod that the program runs in, else about the namespace that kubectl
/// would use.
fn test(config: &Config) -> TestFinding {
    let namespace = config.own_pod.namespace.clone().or_else(current_namespace);
    TestFinding {
        cluster: config.cluster.clone(),
        namespace: namespace.unwrap_or_else(|| "default".to_owned()),
        pod: config.own_pod.name.clone(),
        sent_at: Timestamp::now(),
    }
}

async fn deliver(
    sink: &SinkConfig,
    test: &TestFinding,
    connect: &impl Fn() -> Result<Client, ConnectError>,
) -> TestOutcome {
    let tested = attempt(sink, test, connect).await;
    tested.unwrap_or_else(|error| TestOutcome::Refused { reason: with_causes(&error) })
}

async fn attempt(
    sink: &SinkConfig,
    test: &TestFinding,
    connect: &impl Fn() -> Result<Client, ConnectError>,
) -> Result<TestOutcome, AttemptError> {
    // Each sink connects for itself, so that without a cluster only the sinks that need it fail.
    let kubernetes = if sink.sink_type.needs_cluster { Some(connect()?) } else { None };
    let sink = sink.settings.build(&SinkContext { kubernetes, only_stdout: false })?;
    let limit = sink.limits().timeout;
    let tested = timeout(limit, sink.deliver_test(test)).await;
    Ok(tested.unwrap_or_else(|_| TestOutcome::Retry {
        reason: format!("no answer within {}", spell(limit)),
        after: None,
    }))
}

fn line(sink: &SinkConfig, tested: &TestOutcome) -> String {
    let result = match tested {
        TestOutcome::Delivered { place } => format!("delivered: {place}"),
        TestOutcome::Refused { reason } => format!("failed: {reason}"),
        TestOutcome::Retry { reason, after } => {
            let after = after.map(|after| format!(" after {}", spell(after))).unwrap_or_default();
            let reason = reason.trim_end_matches('.');
            format!(
                "failed: {reason}. The running program would try again{after}, for up to {}",
                spell(sink.retry_for)
            )
        }
    };
    let line = format!("{} ({}): {result}", sink.name, sink.sink_type.name);
    // The reason may quote what a sink's other side answered.
    clean(&line).into_owned() + "\n"
}
