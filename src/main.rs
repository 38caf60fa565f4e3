//! Parses what was said, loads the configuration, starts, and gives the exit status: 0 asked to
//! stop and nothing left undelivered; 1 it failed; 2 usage or configuration.

use std::{
    env,
    fs::File,
    io::{self, BufReader, Write},
    process::ExitCode,
    time::Duration,
};

use kubernetes_oom_event_generator::{
    cli::{Arguments, Command, Recording},
    config::{Config, Loaded},
    logging, pipeline,
    replay::{ReplayError, replay},
    source::connect::connect,
    stop::Stop,
};

/// What ends the program: a sentence, and the exit status.
type Failure = (String, u8);

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args_os(), |name| env::var_os(name)) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err((sentence, status)) => {
            // Where stderr is closed, the exit status is all that can be said.
            writeln!(io::stderr(), "{sentence}").unwrap_or_default();
            ExitCode::from(status)
        }
    }
}

fn start(arguments: Arguments) -> Result<(), Failure> {
    let sinks = match arguments.command {
        Command::Run => arguments.sinks,
        // What is replayed goes to stdout: a secret that only another machine has isn't missed.
        Command::Replay(_) => vec![sinks::stdout::TYPE.name.to_owned()],
    };
    let loaded = Config::load(arguments.config.as_deref(), &sinks, env::vars_os());
    let Loaded { config, warnings, .. } = loaded.map_err(|errors| (errors.to_string(), 2))?;
    match arguments.command {
        Command::Run => {
            logging::start(config.log, arguments.verbosity);
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| (format!("can't start: {error}"), 1))?;
            let ended = runtime.block_on(run(config));
            // A sink may hang in a write that nothing can end, such as to a full pipe.
            runtime.shutdown_timeout(Duration::ZERO);
            ended.map_err(|sentence| (sentence, 1))
        }
        Command::Replay(recording) => replay_recording(&recording, &config).map_err(|sentence| (sentence, 1)),
    }
}

async fn run(config: Config) -> Result<(), String> {
    let provider = rustls::crypto::ring::default_provider().install_default();
    provider.map_err(|_| "can't set up TLS: it was set up before".to_owned())?;
    let stop = Stop::on_signals().map_err(|error| format!("can't listen to signals: {error}"))?;
    let client = connect().map_err(|error| error.to_string())?;
    pipeline::run(config, client, stop).await.map_err(|error| error.to_string())
}

fn replay_recording(recording: &Recording, config: &Config) -> Result<(), String> {
    let settings = pipeline::settings(config);
    let mut stdout = io::stdout().lock();
    let (name, replayed) = match recording {
        Recording::Stdin => ("stdin".to_owned(), replay(io::stdin().lock(), settings, &mut stdout)),
        Recording::File(path) => {
            let file = File::open(path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
            (path.display().to_string(), replay(BufReader::new(file), settings, &mut stdout))
        }
    };
    match replayed {
        // Whoever read has had enough.
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        replayed => replayed.map_err(|error| format!("{name}: {error}")),
    }
}
