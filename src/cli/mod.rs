//! Parses the command line.
//!
//! [`Arguments::parse`] takes the words and two environment variables. It returns [`Arguments`], or what clap
//! answers instead: an error (exit status 2), the help or the version (0). All other environment variables
//! belong to the configuration.

mod plugin;
mod verbosity;

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser,
    error::ErrorKind,
};

use crate::{config::is_namespace_name, logging::Verbosity};
use plugin::{is_plugin, spell_out_command};
use verbosity::{parse_level, spell_out_verbosity};

const EXAMPLES: &str = "Examples:
  kubernetes-oom-event-generator scan
          list what is OOM-killed in the cluster right now; writes nothing
  kubernetes-oom-event-generator
          watch the cluster that kubectl uses, write a Kubernetes Event for each kill
  kubernetes-oom-event-generator --sink stdout | jq .
          print each kill as a line of JSON instead
  kubernetes-oom-event-generator replay recording.jsonl
          print the kills in what `kubectl get pods -o json` printed, with or without --watch
  kubernetes-oom-event-generator check --config config.yaml --send
          print the configuration, and try every sink with a test finding

Every key of the configuration is also an environment variable: OOM_LOOKBACK=30m,
OOM_SINKS__TEAM__WEBHOOK_URL=… for the key webhook_url of the sink team.";

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
    /// Types of sinks to use instead of the configured sinks, if any.
    pub sinks: Vec<String>,
    /// How much the log says.
    pub verbosity: Verbosity,
    /// What to do.
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Watch the cluster and deliver findings until told to stop.
    Run,
    /// Send a recorded watch stream through the filter.
    Replay(ReplayArguments),
    /// Look at the cluster once.
    Scan(ScanArguments),
    /// Print the resolved configuration.
    Check {
        /// Deliver a test finding to every sink as well.
        send: bool,
    },
}

/// What to replay, and how it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayArguments {
    /// Where the recording is.
    pub recording: RecordingSource,
    /// How its kills are printed.
    pub output: ReplayFormat,
}

/// What to look at, and how it is printed.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanArguments {
    /// Look at this namespace alone
    #[arg(short, long, value_name = "NAME", value_parser = parse_namespace)]
    pub namespace: Option<String>,

    /// Look at the whole cluster, whatever the configuration includes
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,

    /// A row for each workload, a row for each Pod, or a finding a line
    #[arg(short, long, value_name = "FORMAT", default_value_t, value_enum)]
    pub output: TableFormat,

    /// Which rows come first: those with most kills, the newest, or by name
    #[arg(long, value_name = "ORDER", default_value_t, value_enum)]
    pub sort: SortOrder,

    /// The context of the kubeconfig, if not the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// How kills are printed.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableFormat {
    /// A row for each container of a workload.
    #[default]
    Table,
    /// A row for each container of a Pod.
    Wide,
    /// A finding a line.
    Json,
}

/// How a replay's kills are printed.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayFormat {
    /// A row for each container of a workload, at the end.
    Table,
    /// A finding a line, as they are found.
    #[default]
    Json,
}

/// Which rows come first.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Those with the most kills.
    Kills,
    /// Those with the newest kill.
    #[default]
    Time,
    /// Those whose namespace and name come first.
    Name,
}

/// Where a recorded watch stream is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingSource {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Arguments {
    /// Parses the words of a command line, of which the first is the program's name. `variable` looks up an
    /// environment variable.
    ///
    /// # Errors
    ///
    /// What clap answers instead: a usage error, the help or the version.
    pub fn parse(
        words: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, clap::Error> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let words = spell_out_command(spell_out_verbosity(words));
        let command = CommandLine::command();
        let command = if is_plugin(&words) { command.bin_name("kubectl oom") } else { command };
        let matches = command.try_get_matches_from(words)?;
        let line = CommandLine::from_arg_matches(&matches)?;
        line.refuse_sinks()?;
        let from_variable = || variable("VERBOSE").map_or(Ok(0), |value| parse_variable(&value));
        let level = match line.verbose.as_slice() {
            [] => from_variable()?,
            levels => levels.iter().fold(0, |sum: u8, level| sum.saturating_add(*level)),
        };
        Ok(Self {
            config: line.config.or_else(|| variable("OOM_CONFIG").map(PathBuf::from)),
            sinks: line.sinks,
            verbosity: match level {
                0 => Verbosity::Info,
                1 => Verbosity::Debug,
                _ => Verbosity::Trace,
            },
            command: match line.command {
                None | Some(CommandWord::Run) => Command::Run,
                Some(CommandWord::Replay { file, output }) => {
                    let is_stdin = file == OsStr::new("-");
                    let recording =
                        if is_stdin { RecordingSource::Stdin } else { RecordingSource::File(file) };
                    Command::Replay(ReplayArguments { recording, output })
                }
                Some(CommandWord::Scan(arguments)) => Command::Scan(arguments),
                Some(CommandWord::Check { send }) => Command::Check { send },
            },
        })
    }
}

/// Tells, exactly once, that a container was OOM-killed and started again.
///
/// The cluster is found as kubectl finds it: $KUBECONFIG, ~/.kube/config, or the service account of
/// the Pod this runs in. Findings go to stdout if asked for, the log to stderr.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct CommandLine {
    #[arg(short, long, global = true, value_name = "FILE")]
    #[arg(help = "The configuration, YAML; without one the defaults hold [env: OOM_CONFIG]")]
    config: Option<PathBuf>,

    /// Use this type of sink on its defaults instead of the configured sinks; may be repeated
    #[arg(long = "sink", global = true, value_name = "TYPE", value_parser = sink_types())]
    sinks: Vec<String>,

    /// Say more in the log: 0 info, 1 debug, 2 trace; -vv is 2 [env: VERBOSE] [default: 0]
    #[arg(short, long, global = true, value_name = "LEVEL", value_parser = parse_level)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "1", action = clap::ArgAction::Append)]
    verbose: Vec<u8>,

    #[command(subcommand)]
    command: Option<CommandWord>,
}

#[derive(Subcommand)]
enum CommandWord {
    /// Watch the cluster and deliver findings until told to stop (the default)
    Run,
    /// Send a recorded watch stream through the same filter, print its findings
    Replay {
        /// JSON objects {"type": …, "object": …}; - is standard input
        #[arg(default_value = "-")]
        file: PathBuf,

        /// A finding a line as they are found, or at the end a row for each workload
        #[arg(short, long, value_name = "FORMAT", default_value_t, value_enum)]
        output: ReplayFormat,
    },
    /// Look at the cluster once, print what is OOM-killed in it right now
    ///
    /// It needs the right to list Pods and nothing else, and writes nothing.
    Scan(ScanArguments),
    /// Print the configuration as it holds, where each value comes from, and no secret
    ///
    /// The output is YAML that can be a configuration file again, but for the secrets in it. Nothing is
    /// asked of the cluster. The exit status is 2 if the configuration is wrong.
    Check {
        /// Then deliver a test finding to every sink, and say what became of it
        ///
        /// One attempt each, whatever its `match` says. A sink of type kubernetes writes a Normal Event
        /// `TestFinding` on the Pod that `$POD_NAMESPACE` and `$POD_NAME` name, else on the namespace
        /// that kubectl would use. The exit status is 1 if a sink failed.
        #[arg(long)]
        send: bool,
    },
}

impl CommandLine {
    /// Refuses a `--sink` that the command can't honour.
    fn refuse_sinks(&self) -> Result<(), clap::Error> {
        let (command, honoured) = match &self.command {
            Some(CommandWord::Replay { .. }) => ("replay", Some(sinks::stdout::TYPE.name)),
            Some(CommandWord::Scan(_)) => ("scan", None),
            _ => return Ok(()),
        };
        match self.sinks.iter().find(|sink| Some(sink.as_str()) != honoured) {
            None => Ok(()),
            Some(sink) => {
                let text = format!(
                    "{command} prints what it finds and delivers it to no sink: leave out --sink {sink}, or use \
                     the command run"
                );
                Err(Self::command().error(ErrorKind::ArgumentConflict, text))
            }
        }
    }
}

/// Returns the command line as clap knows it, to make completions for shells of.
pub fn command() -> clap::Command {
    CommandLine::command()
}

fn parse_namespace(name: &str) -> Result<String, &'static str> {
    if is_namespace_name(name) {
        Ok(name.to_owned())
    } else {
        Err("expected a namespace's name: a-z, 0-9 and -")
    }
}

fn sink_types() -> PossibleValuesParser {
    PossibleValuesParser::new(sinks::TYPES.iter().map(|sink_type| sink_type.name))
}

fn parse_variable(value: &OsStr) -> Result<u8, clap::Error> {
    let value = value.to_string_lossy();
    parse_level(&value).map_err(|expected| {
        let text = format!("the environment variable VERBOSE is {value:?}; {expected}");
        CommandLine::command().error(ErrorKind::ValueValidation, text)
    })
}

#[cfg(test)]
mod tests;
