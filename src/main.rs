//! Parses the command line, loads the configuration, runs the command, and returns the exit status: 0 for
//! success or a stop with nothing left undelivered, 1 for a failure, 2 for wrong usage or configuration.

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use cluster::connect;
use kubernetes_oom_event_generator::{
    check,
    cli::{Arguments, Command},
    config::{Config, LoadedConfig},
    logging::{self, LogFormat, Verbosity},
    pipeline, replay, scan,
    stop::Stop,
};
use untrusted::{clean, with_causes};

/// The same allocator with every C library: with musl's, which the image has, a Pod takes half as long again.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args_os(), |name| env::var_os(name)) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let sinks = match arguments.command {
        Command::Run | Command::Check { .. } => arguments.sinks,
        // They use no configured sink: a secret that this machine doesn't have is no error.
        Command::Replay(_) | Command::Scan(_) => vec![sinks::stdout::TYPE.name.to_owned()],
    };
    let mut loaded = Config::load(arguments.config.as_deref(), &sinks, env::vars_os());
    if let Command::Replay(_) = arguments.command {
        loaded = loaded.and_then(LoadedConfig::honour_matches);
    }
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return fail(&errors, 2),
    };
    let ended = match arguments.command {
        Command::Run => return run(loaded, arguments.verbosity),
        Command::Replay(replay) => {
            replay::run(&replay, pipeline::settings(&loaded.config)).map_err(Into::into)
        }
        Command::Scan(request) => {
            logging::start(LogFormat::Text, arguments.verbosity);
            let settings = pipeline::settings(&loaded.config);
            block_on(async { Ok(scan::run(&request, settings).await?) })
        }
        Command::Check { send } => check(&loaded, send),
    };
    ended.map_or_else(|error| fail(&*error, 1), |()| ExitCode::SUCCESS)
}

fn check(loaded: &LoadedConfig, send: bool) -> Result<(), Box<dyn Error>> {
    check::show(loaded)?;
    if send { block_on(async { Ok(check::send(&loaded.config, connect).await?) }) } else { Ok(()) }
}

fn run(LoadedConfig { config, warnings, .. }: LoadedConfig, verbosity: Verbosity) -> ExitCode {
    let format = config.log;
    logging::start(format, verbosity);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match (block_on(watch_and_deliver(config)), format) {
        (Ok(()), _) => ExitCode::SUCCESS,
        (Err(error), LogFormat::Text) => fail(&*error, 1),
        (Err(error), LogFormat::Json) => {
            // A collector drops what is no JSON.
            tracing::error!("{}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn watch_and_deliver(config: Config) -> Result<(), Box<dyn Error>> {
    let stop = Stop::on_signals()?;
    Ok(pipeline::run(config, connect, stop).await?)
}

fn block_on(work: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(work);
    // Doesn't wait for blocking threads that can't be cancelled: a write to a full pipe.
    runtime.shutdown_background();
    ended
}

/// Shows an error and everything that caused it.
fn fail(error: &(dyn Error + 'static), status: u8) -> ExitCode {
    for line in with_causes(error).lines() {
        // If stderr is closed, the exit status is all that can be said.
        writeln!(io::stderr(), "{}", clean(line)).unwrap_or_default();
    }
    ExitCode::from(status)
}
