//! The program as a process, and a Slack that takes connections and never answers: the Events come as if
//! there were none, and memory stays bounded.

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{
    ControlPlane, Error,
    behaviour::{Answer, Behaviour},
    eventually,
    program::{PATIENCE, Program},
    slack::Slack,
};

use super::config_file::ConfigFile;
use crate::cluster::storm::{CONTAINERS, create, kill, told};

const EVENTS: &str = "  events: { type: kubernetes }\n";

/// The sinks `events` and `team`, a Slack that hangs, with these settings.
fn beside(slack: &Slack, settings: &str) -> String {
    format!("{EVENTS}  team: {{ type: slack, webhook_url: \"{}\", {settings} }}\n", slack.url())
}

/// How long it takes from 200 kills to 200 Events.
async fn time_of_200(cluster: &ControlPlane, sinks: &str) -> Result<Duration, Error> {
    let namespace = cluster.namespace("hanging").await?;
    let config = ConfigFile::new(namespace.name(), sinks);
    let pods = ["one", "two", "three", "four"];
    for pod in pods {
        create(&namespace, pod).await?;
    }
    let program = Program::ready(&cluster.kubeconfig(), &["-c", config.path().to_str().unwrap()], &[]).await;
    let begun = Instant::now();
    for pod in pods {
        kill(&namespace, pod).await?;
    }
    told(&namespace, pods.len() * CONTAINERS).await?;
    let took = begun.elapsed();
    let delivered = program.metric("deliveries_total{sink=\"events\",outcome=\"delivered\"}").await;
    assert_eq!(delivered, 200);
    program.signal("KILL").await;
    Ok(took)
}

#[tokio::test]
async fn it_delays_no_event() -> Result<(), Error> {
    let cluster = ControlPlane::shared().await?;
    let slack = Slack::always(Behaviour::fails(Answer::Never)).await;
    let (mut without, mut with) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..3 {
        without += time_of_200(cluster, EVENTS).await?;
        with += time_of_200(cluster, &beside(&slack, "group_wait: 0s, group_interval: 0s")).await?;
    }
    println!(
        "200 kills became Events in {:?} beside a Slack that hangs, in {:?} without",
        with / 3,
        without / 3
    );
    assert!(slack.messages().len() >= 3, "nothing was sent to Slack");
    // It would be ten seconds a round if one waited for the other.
    assert!(with < without * 3 + Duration::from_secs(9), "{with:?} instead of {without:?}");
    Ok(())
}

#[tokio::test]
async fn what_it_does_not_take_is_counted_or_dropped_and_logged_and_memory_stays_bounded() -> Result<(), Error>
{
    const PODS: usize = 24;
    const CAPACITY: usize = 50;
    let cluster = ControlPlane::shared().await?;
    let namespace = cluster.namespace("flood").await?;
    let slack = Slack::always(Behaviour::fails(Answer::Never)).await;
    let config = ConfigFile::new(namespace.name(), &beside(&slack, "queue_capacity: 50"));
    let pods: Vec<_> = (0..PODS).map(|number| format!("flood-{number}")).collect();
    for pod in &pods {
        create(&namespace, pod).await?;
    }
    let program = Program::ready(&cluster.kubeconfig(), &["-c", config.path().to_str().unwrap()], &[]).await;
    let (early, late) = pods.split_at(PODS / 4);
    let mut memory = Vec::new();
    for (pods, kills) in [(early, PODS / 4 * CONTAINERS), (late, PODS * CONTAINERS)] {
        for pod in pods {
            kill(&namespace, pod).await?;
        }
        told(&namespace, kills).await?;
        let found = eventually(format!("{kills} findings"), PATIENCE, async || {
            (program.metric("findings_total").await == kills as u64).then_some(())
        });
        found.await?;
        assert_eq!(program.metric("queue_used{sink=\"team\"}").await, CAPACITY as u64);
        memory.push(program.memory());
    }
    let dropped = program.metric("deliveries_total{sink=\"team\",outcome=\"dropped\"}").await;
    let waiting = program.metric("queue_length{sink=\"team\"}").await;
    assert_eq!(dropped + waiting, (PODS * CONTAINERS) as u64);
    assert!(waiting > 2 * CAPACITY as u64, "only {waiting} wait, though most can be counted");
    let whole = program.stderr().lines().filter(|line| is_whole_drop(line)).count();
    assert_eq!(whole as u64, dropped);
    let [(before, _), (after, peak)] = memory[..] else { unreachable!() };
    println!("resident memory {before} bytes after 300 kills, {after} after 1,200, {peak} at the peak");
    assert!(after < before + 10_000_000 && peak < 100_000_000, "{memory:?}");
    program.signal("KILL").await;
    Ok(())
}

/// Whether a line of the log has a finding that was dropped, all of it.
fn is_whole_drop(line: &str) -> bool {
    let Some((_, rest)) = line.split_once(" finding=") else { return false };
    let finding = serde_json::Deserializer::from_str(rest).into_iter::<Value>().next();
    let is_finding = finding.is_some_and(|finding| finding.unwrap()["schema"] == "oom-finding/v1");
    line.contains("ERROR") && line.contains("queue is full") && is_finding
}
