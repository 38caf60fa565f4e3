//! `cargo demo`: the program at work on a real API server, in half a minute.
//!
//! It starts a control plane, runs the program against it, plays the recording of a crash loop into it
//! as the kubelet would, and ends by showing what `kubectl get events` would show.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use support::{ControlPlane, Leash, Namespace, eventually};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

const PROGRAM: &str = "kubernetes-oom-event-generator";
const REASON: &str = "PreviousContainerWasOOMKilled";
const RECORDING: &str = include_str!("../tests/recordings/crash-loop.jsonl");
/// How much of the recording is played: as far as the restart that follows this many kills.
const KILLS: usize = 8;
const SPEED: f64 = 10.0;
const CONFIG: &str = "server: null\nsinks:\n  events: { type: kubernetes }\n  lines: { type: stdout }\n";
const WITHIN: Duration = Duration::from_mins(1);

type DemoResult<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Whichever arm wins, the other's future is dropped, and with it all that was started.
    let outcome = tokio::select! {
        outcome = demonstrate() => outcome,
        outcome = interrupted() => outcome,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\n{error}");
            // A build in another thread must not hold up the end.
            std::process::exit(1)
        }
    }
}

async fn interrupted() -> DemoResult<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome?,
        _ = terminate.recv() => {}
    }
    Err("Interrupted; all is taken down.".into())
}

async fn demonstrate() -> DemoResult<()> {
    say("Building the program: cargo build --release");
    let program = build().await?;

    say("Starting etcd and kube-apiserver (where they are missing, they are built first, once)");
    let plane = ControlPlane::start().await?;
    let namespace = plane.namespace("shop").await?;

    say(&format!("Starting {PROGRAM} with the sinks kubernetes and stdout"));
    let mut child = start(&program, &plane)?;
    let leash = child.id().map(Leash::on).transpose()?;
    let stdout = child.stdout.take().ok_or("the program has no stdout")?;

    say(&format!(
        "Playing the kubelet: a container is OOM-killed {KILLS} times, {SPEED} times as fast as it was"
    ));
    let recording = up_to_kills(KILLS)?;
    let played = async { namespace.play(&recording, SPEED).await.map_err(Box::<dyn Error>::from) };
    timeout(WITHIN, async { tokio::try_join!(played, show(stdout)) })
        .await
        .map_err(|_| format!("not all {KILLS} findings came within {WITHIN:?}"))??;
    eventually("the Events of all kills", WITHIN, async || {
        let events = namespace.events(REASON).await.ok()?;
        (events.len() >= KILLS).then_some(())
    })
    .await?;

    show_events(&namespace).await?;

    say("Stopping the program by SIGTERM, and taking all down");
    let id = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).ok_or("the program has ended")?;
    kill_process(id, Signal::TERM)?;
    drop(leash);
    let status = timeout(WITHIN, child.wait()).await.map_err(|_| "the program did not stop")??;
    if status.success() { Ok(()) } else { Err(format!("the program ended with {status}").into()) }
}

/// Builds the release binary, and says where it is.
async fn build() -> DemoResult<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--bin", PROGRAM, "--manifest-path"]).arg(manifest).kill_on_drop(true);
    // What `cargo run` tells this process of its own package would make cargo build dependencies
    // anew whose build scripts look at it.
    for (name, _) in env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|told| name.to_string_lossy().starts_with(told)) {
            build.env_remove(name);
        }
    }
    let status = build.status().await?;
    if !status.success() {
        return Err(format!("cargo build ended with {status}").into());
    }
    // This is target/debug/examples/demo.
    let this = env::current_exe()?;
    let target = this.ancestors().nth(3).ok_or("the demo is not in Cargo's target directory")?;
    Ok(target.join("release").join(PROGRAM))
}

/// Starts the program with nothing but `$KUBECONFIG`.
fn start(program: &Path, plane: &ControlPlane) -> DemoResult<Child> {
    let kubeconfig = plane.kubeconfig();
    let config = kubeconfig.with_file_name("config.yaml");
    fs::write(&config, CONFIG)?;
    let child = Command::new(program)
        .arg("--config")
        .arg(config)
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// Shows the findings as they come, cut to what fits a line, until all have come.
async fn show(stdout: ChildStdout) -> DemoResult<()> {
    const WIDTH: usize = 150;
    let mut lines = BufReader::new(stdout).lines();
    for shown in 0..KILLS {
        let Some(line) = lines.next_line().await? else {
            return Err(format!("the program ended after {shown} findings").into());
        };
        let cut: String = line.chars().take(WIDTH).collect();
        println!("{cut}{}", if cut.len() < line.len() { "…" } else { "" });
    }
    Ok(())
}

async fn show_events(namespace: &Namespace) -> DemoResult<()> {
    say(&format!("kubectl get events --sort-by=.lastTimestamp --namespace {}", namespace.name()));
    print!("{}", namespace.kubectl_get_events().await?);
    Ok(())
}

/// The recording as far as the status that shows the restart after so many kills.
fn up_to_kills(kills: usize) -> DemoResult<String> {
    let mut played = String::new();
    for line in RECORDING.lines() {
        played += line;
        played.push('\n');
        let line: serde_json::Value = serde_json::from_str(line)?;
        if line["object"]["status"]["containerStatuses"][0]["restartCount"] == kills {
            return Ok(played);
        }
    }
    Err(format!("the recording ends before {kills} kills").into())
}

fn say(what: &str) {
    println!("\n==> {what}");
}
