//! The program prints into a pipe whose reader misbehaves, beside the kubernetes sink: that goes on.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, PipeReader, pipe},
    process::Stdio,
};

use serde_json::Value;
use support::{
    ControlPlane, Error, Namespace, eventually,
    program::{PATIENCE, Program},
};
use tokio::task::spawn_blocking;

use crate::cluster::storm::{CONTAINERS, create, kill, told};

/// 200 findings are three times what a pipe holds.
const KILLS: usize = 4 * CONTAINERS;

/// The program, ready, and the end of the pipe that it prints into.
async fn start(namespace: &Namespace) -> (Program, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let kubeconfig = ControlPlane::shared().await.unwrap().kubeconfig();
    let environment = [("OOM_NAMESPACES__INCLUDE", namespace.name()), ("OOM_SHUTDOWN_GRACE", "2s")];
    let sinks = ["--sink", "stdout", "--sink", "kubernetes"];
    let program = Program::start_into(Stdio::from(writer), &kubeconfig, &sinks, &environment);
    program.is_ready().await;
    (program, reader)
}

/// Kills 200 containers, and waits until each has its Event.
async fn kill_200(namespace: &Namespace) -> Result<(), Error> {
    for pod in ["one", "two", "three", "four"] {
        create(namespace, pod).await?;
        kill(namespace, pod).await?;
    }
    assert_eq!(told(namespace, KILLS).await?.len(), KILLS);
    Ok(())
}

/// The IDs of the findings that stand in the pipe, up to so many or its end; each line is a whole one.
async fn read(reader: PipeReader, most: usize) -> (BTreeSet<String>, PipeReader) {
    let reading = spawn_blocking(move || {
        let mut lines = BufReader::new(reader);
        let mut ids = BTreeSet::new();
        let mut line = String::new();
        while ids.len() < most && lines.read_line(&mut line).unwrap() > 0 {
            assert!(line.ends_with('\n'), "half a line: {line}");
            assert!(ids.insert(id(&line)), "twice: {line}");
            line.clear();
        }
        (ids, lines.into_inner())
    });
    tokio::time::timeout(PATIENCE, reading).await.expect("the findings are printed").unwrap()
}

fn id(finding: &str) -> String {
    let finding: Value = serde_json::from_str(finding).unwrap();
    finding["id"].as_str().unwrap().to_owned()
}

async fn outcome(program: &Program, outcome: &str) -> u64 {
    program.metric(&format!("deliveries_total{{sink=\"stdout\",outcome=\"{outcome}\"}}")).await
}

/// The IDs of the findings that the log has as undelivered.
fn undelivered(log: &str) -> BTreeSet<String> {
    let lines = log.lines().filter(|line| line.contains("ERROR") && line.contains("undelivered finding"));
    lines.map(|line| id(line.split_once(" finding=").unwrap().1)).collect()
}

#[tokio::test]
async fn one_who_stops_reading_for_a_while_gets_all_of_it_later() -> Result<(), Error> {
    let namespace = ControlPlane::shared().await?.namespace("pause").await?;
    let (program, reader) = start(&namespace).await;
    kill_200(&namespace).await?;
    assert!(program.metric("queue_length{sink=\"stdout\"}").await > 0, "the pipe took all");
    let (ids, reader) = read(reader, KILLS).await;
    assert_eq!(ids.len(), KILLS);
    eventually("200 deliveries", PATIENCE, async || {
        (outcome(&program, "delivered").await == KILLS as u64).then_some(())
    })
    .await?;
    assert_eq!(program.stop().await, Some(0));
    drop(reader);
    Ok(())
}

#[tokio::test]
async fn one_who_never_reads_again_does_not_hold_up_the_end() -> Result<(), Error> {
    let namespace = ControlPlane::shared().await?.namespace("stuck").await?;
    let (mut program, reader) = start(&namespace).await;
    kill_200(&namespace).await?;
    program.signal("TERM").await;
    assert_eq!(program.ended().await.code(), Some(1));
    let logged = undelivered(&program.stderr());
    let printed = printed_before_the_end(reader).await;
    assert_eq!(printed.union(&logged).count(), KILLS);
    Ok(())
}

/// As [`read`], of one that ended: its last line may be half a one.
async fn printed_before_the_end(reader: PipeReader) -> BTreeSet<String> {
    let lines = spawn_blocking(|| std::io::read_to_string(reader).unwrap()).await.unwrap();
    let whole = lines.rfind('\n').map_or("", |end| &lines[..end]);
    whole.lines().map(id).collect()
}

#[tokio::test]
async fn one_who_ends_is_counted_as_failed_and_all_else_goes_on() -> Result<(), Error> {
    let namespace = ControlPlane::shared().await?.namespace("closed").await?;
    let (mut program, reader) = start(&namespace).await;
    drop(reader);
    kill_200(&namespace).await?;
    eventually("200 failures", PATIENCE, async || {
        (outcome(&program, "failed").await == KILLS as u64).then_some(())
    })
    .await?;
    program.signal("TERM").await;
    assert_eq!(program.ended().await.code(), Some(1));
    assert_eq!(undelivered(&program.stderr()).len(), KILLS);
    Ok(())
}
