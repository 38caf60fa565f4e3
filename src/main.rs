//! Parses what was said, loads the configuration, starts, and gives the exit status: 0 asked to
//! stop and nothing left undelivered; 1 it failed; 2 usage or configuration.

use std::{
    env,
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use cluster::connect;
use kubernetes_oom_event_generator::{
    check,
    cli::{Arguments, Command},
    config::{Config, Loaded},
    logging::{self, LogFormat, Verbosity},
    pipeline, replay,
    stop::Stop,
};
use tokio::task::spawn_blocking;

/// The same with every C library. That of the image, musl, has one that takes a Pod half as long again.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args_os(), |name| env::var_os(name)) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let sinks = match arguments.command {
        Command::Run | Command::Check { .. } => arguments.sinks,
        // What is replayed goes to stdout: a secret that only another machine has isn't missed.
        Command::Replay(_) => vec![sinks::stdout::TYPE.name.to_owned()],
    };
    let loaded = match Config::load(arguments.config.as_deref(), &sinks, env::vars_os()) {
        Ok(loaded) => loaded,
        Err(errors) => return failed(errors, 2),
    };
    let ended = match arguments.command {
        Command::Run => return run(loaded.config, &loaded.warnings, arguments.verbosity),
        Command::Replay(recording) => replay::run(&recording, pipeline::settings(&loaded.config)),
        Command::Check { send } => check(&loaded, send),
    };
    ended.map_or_else(|sentence| failed(sentence, 1), |()| ExitCode::SUCCESS)
}

fn check(loaded: &Loaded, send: bool) -> Result<(), String> {
    check::show(loaded)?;
    if send { block_on(check::send(&loaded.config)) } else { Ok(()) }
}

fn run(config: Config, warnings: &[String], verbosity: Verbosity) -> ExitCode {
    let format = config.log;
    logging::start(format, verbosity);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match (block_on(watch_and_deliver(config)), format) {
        (Ok(()), _) => ExitCode::SUCCESS,
        (Err(sentence), LogFormat::Text) => failed(sentence, 1),
        (Err(sentence), LogFormat::Json) => {
            // A collector drops what is no JSON.
            tracing::error!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

async fn watch_and_deliver(config: Config) -> Result<(), String> {
    let stop = Stop::on_signals().map_err(|error| format!("can't listen to signals: {error}"))?;
    let client = tokio::select! {
        () = stop.asked() => return Ok(()),
        // In a thread of its own: a credential plugin may take as long as it likes.
        connected = spawn_blocking(connect) => connected.map_err(|error| error.to_string())?,
    };
    let client = client.map_err(|error| error.to_string())?;
    pipeline::run(config, client, stop).await.map_err(|error| error.to_string())
}

fn block_on(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let provider = rustls::crypto::ring::default_provider().install_default();
    provider.map_err(|_| "can't set up TLS: it was set up before".to_owned())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start: {error}"))?;
    let ended = runtime.block_on(work);
    // What nothing can end goes on: a sink's write to a full pipe, a kubeconfig's credential plugin.
    runtime.shutdown_background();
    ended
}

fn failed(sentence: impl Display, status: u8) -> ExitCode {
    // Where stderr is closed, the exit status is all that can be said.
    writeln!(io::stderr(), "{sentence}").unwrap_or_default();
    ExitCode::from(status)
}
