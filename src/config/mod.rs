//! Reads and validates the configuration: every key of `config.example.yaml`.
//!
//! [`Config::load`] takes a file, the environment and the sinks named on the command line ([`layers`] puts
//! them in order). It returns a [`Config`] and warnings, or all errors at once. Nothing here talks to the
//! cluster.

mod advice;
mod globs;
mod layers;
mod matching;
mod namespaces;
mod replica;
mod selector;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use finding::AdvicePolicy;
use settings::{ConfigErrors, ConfigProblem, ConfigSection, ResolvedKey, did_you_mean, one_of, quote, spell};
use sinks::{Grouping, SinkSettings, SinkType};

use crate::logging::LogFormat;
use layers::GatheredLayers;
pub use matching::FindingMatch;
pub use namespaces::{Namespaces, is_namespace_name};
pub use replica::{LeaseName, OwnPod};

/// The API server's default for `--event-ttl`.
const DEFAULT_EVENT_TTL: Duration = Duration::from_hours(1);

/// The keys at the top, which the environment is searched for before anything is read.
const TOP_KEYS: [&str; 11] = [
    "cluster",
    "namespaces",
    "lookback",
    "report_unrestarted",
    "honor_ignore",
    "server",
    "log",
    "shutdown_grace",
    "advice",
    "leader_election",
    "sinks",
];

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    /// The cluster's name, shown in every finding.
    pub cluster: Option<String>,
    /// The namespaces whose Pods count.
    pub namespaces: Namespaces,
    /// How old a kill's restart may be: at the start from now, after an outage from its beginning.
    pub lookback: Duration,
    /// Whether kills that no restart follows are also reported.
    pub report_unrestarted: bool,
    /// Whether kills in Pods that ask for it reach only the sinks that remember.
    pub honor_ignore: bool,
    /// The HTTP endpoint, if there is one.
    pub server: Option<ServerConfig>,
    /// What the log looks like.
    pub log: LogFormat,
    /// How long the program may continue to deliver after it is told to stop.
    pub shutdown_grace: Duration,
    /// How findings advise on limits, if at all.
    pub advice: Option<AdvicePolicy>,
    /// The Lease by which several replicas choose the one that delivers; `None` if there is one replica.
    pub lease: Option<LeaseName>,
    /// The Pod that the program runs in.
    pub own_pod: OwnPod,
    /// The sinks, sorted by name; at least one.
    pub sinks: Vec<SinkConfig>,
}

/// The HTTP endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it has a page for people.
    pub page: bool,
}

/// A sink and what its courier needs to know.
#[derive(Debug)]
pub struct SinkConfig {
    /// Its key in the map of sinks. It may be part of a metric's label and of an environment variable's name.
    pub name: String,
    /// Its type.
    pub sink_type: SinkType,
    /// The settings that only its type has.
    pub settings: Arc<dyn SinkSettings>,
    /// Which findings it gets.
    pub matches: FindingMatch,
    /// How findings are gathered for it.
    pub grouping: Grouping,
    /// How long a finding is retried, from when it was first due.
    pub retry_for: Duration,
    /// Whether it is told that incidents are over.
    pub send_resolved: bool,
    /// How many findings may wait for it, at least 1.
    pub queue_capacity: usize,
}

/// What [`Config::load`] returns.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// Warnings for the person who wrote it.
    pub warnings: Vec<String>,
    /// Every key with the value that applies, secrets hidden.
    pub resolved: Vec<ResolvedKey>,
    /// The `match`es of the configured sinks that others replaced.
    left_out: Vec<ConfigProblem>,
}

impl LoadedConfig {
    /// Returns this configuration, unless sinks have a `match` that can't hold because others replaced them.
    ///
    /// # Errors
    ///
    /// Each such `match`.
    pub fn honour_matches(self) -> Result<Self, ConfigErrors> {
        if self.left_out.is_empty() { Ok(self) } else { Err(ConfigErrors::new(self.left_out)) }
    }
}

impl Config {
    /// Reads the configuration. Later layers win: defaults, `file`, `environment` (`OOM_LOOKBACK`,
    /// `OOM_SINKS__TEAM__TYPE`). If there are any `sinks`, these types replace all configured sinks.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; or only that the file can't be read or isn't YAML.
    pub fn load(
        file: Option<&Path>,
        sinks: &[String],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<LoadedConfig, ConfigErrors> {
        Self::load_with(sinks::TYPES, file, sinks, environment)
    }

    /// Does the same as [`Config::load`] with these types of sinks instead of [`sinks::TYPES`].
    ///
    /// # Errors
    ///
    /// Those of [`Config::load`].
    pub fn load_with(
        types: &[SinkType],
        file: Option<&Path>,
        sinks: &[String],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<LoadedConfig, ConfigErrors> {
        let environment: Vec<_> = environment.into_iter().collect();
        let own_pod = OwnPod::read(&environment);
        let GatheredLayers { layers, problems, mut warnings, left_out } =
            GatheredLayers::new(file, sinks, environment)?;
        let (config, resolved) = settings::read(layers, |root| {
            for problem in problems {
                root.note(problem);
            }
            Self::read(root, types, own_pod)
        })?;
        warnings.extend(config.warnings());
        Ok(LoadedConfig { config, warnings, resolved, left_out })
    }

    fn read(root: &mut ConfigSection<'_>, types: &[SinkType], own_pod: OwnPod) -> Self {
        let read_sink = |name: &str, section: &mut ConfigSection<'_>| SinkConfig::read(name, section, types);
        let cluster = root.get_or("cluster", String::new(), "text, in quotes if it looks like a number");
        Self {
            cluster: Some(cluster).filter(|name| !name.is_empty()),
            namespaces: root.section("namespaces", Namespaces::read),
            lookback: root.duration("lookback", Duration::from_mins(55)),
            report_unrestarted: root.get_or("report_unrestarted", false, "true or false"),
            honor_ignore: root.get_or("honor_ignore", false, "true or false"),
            server: if root.is_null("server") {
                None
            } else {
                Some(root.section("server", ServerConfig::read))
            },
            log: root.section("log", |log| log.get_or("format", LogFormat::Text, "text or json")),
            shutdown_grace: root.duration("shutdown_grace", Duration::from_secs(20)),
            advice: if root.is_null("advice") { None } else { Some(root.section("advice", advice::read)) },
            lease: root.section("leader_election", |section| LeaseName::read(section, &own_pod)),
            own_pod,
            sinks: root.sections("sinks", read_sink).into_iter().flatten().collect(),
        }
    }

    /// Returns warnings of what is valid but probably a mistake. With most of it a kill may be reported twice,
    /// because only the cluster's Events remember which kills were reported.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let memories: Vec<_> = self.sinks.iter().filter(|sink| sink.sink_type.remembers).collect();
        let of_all: Vec<_> = memories.iter().filter(|sink| sink.matches.is_everything()).collect();
        if let [first, second, ..] = of_all.as_slice() {
            warnings.push(format!(
                "the sinks {} and {} are both of type kubernetes: they write the same Events, and whichever comes \
                 second counts duplicates; remove one",
                first.name, second.name
            ));
        }
        if memories.is_empty() {
            warnings.push(format!(
                "no sink of type kubernetes: nothing remembers what was reported, so a kill of the last {} can be \
                 reported again after a restart; add the sink `events: {{ type: kubernetes }}`",
                spell(self.lookback)
            ));
        } else if of_all.is_empty() {
            warnings.push(format!(
                "every sink of type kubernetes has a match: nothing remembers what it leaves out, so such a kill of the \
                 last {} can be reported again after a restart; have one without a match",
                spell(self.lookback)
            ));
        }
        if self.lookback > DEFAULT_EVENT_TTL {
            warnings.push(format!(
                "lookback is {}, longer than an API server keeps Events by default (--event-ttl, {}): a kill whose \
                 Event is gone can be reported again after a restart; keep lookback below the Events' time to live",
                spell(self.lookback),
                spell(DEFAULT_EVENT_TTL)
            ));
        }
        let of_sinks = self.sinks.iter().filter_map(|sink| Some((&sink.name, sink.settings.warning()?)));
        warnings.extend(of_sinks.map(|(name, warning)| format!("the sink {name} {warning}")));
        warnings
    }
}

impl ServerConfig {
    fn read(server: &mut ConfigSection<'_>) -> Self {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 10254));
        let expected = "an address and a port such as [::]:10254 or 127.0.0.1:10254";
        Self {
            address: server.get_or("listen", everywhere, expected),
            page: server.get_or("page", true, "true or false"),
        }
    }
}

impl SinkConfig {
    fn read(name: &str, section: &mut ConfigSection<'_>, types: &[SinkType]) -> Option<Self> {
        if !is_sink_name(name) {
            section.reject(
                "is no name for a sink",
                "a-z, 0-9, - and single _, beginning with a letter and ending with a letter or digit",
            );
        }
        let sink_type = read_type(section, types);
        if sink_type.is_none() {
            section.give_up();
        }
        let grouping = sink_type.map_or(Grouping::NONE, |sink_type| sink_type.grouping);
        let matches = section.section("match", FindingMatch::read);
        let grouping = Grouping {
            wait: section.duration("group_wait", grouping.wait),
            interval: section.duration("group_interval", grouping.interval),
        };
        let retry_for = section.duration("retry_for", Duration::from_hours(1));
        let queue_capacity = read_queue_capacity(section);
        let tells_resolved = sink_type.is_some_and(|sink_type| sink_type.tells_resolved);
        let send_resolved = tells_resolved && section.get_or("send_resolved", false, "true or false");
        let settings = sink_type.and_then(|sink_type| (sink_type.read)(section))?;
        let name = name.to_owned();
        Some(Self {
            name,
            sink_type: sink_type?,
            settings,
            matches,
            grouping,
            retry_for,
            send_resolved,
            queue_capacity,
        })
    }
}

fn read_type(section: &mut ConfigSection<'_>, types: &[SinkType]) -> Option<SinkType> {
    let types: BTreeMap<&str, SinkType> = types.iter().map(|known| (known.name, *known)).collect();
    let names: Vec<&str> = types.keys().copied().collect();
    let expected = one_of(&names);
    if !section.has("type") {
        section.missing("type", expected);
        return None;
    }
    let name: String = section.get("type", &expected)?;
    let found = types.get(name.as_str()).copied();
    if found.is_none() {
        section.error("type", format!("is {}{}", quote(&name), did_you_mean(&name, &names)), expected);
    }
    found
}

fn read_queue_capacity(section: &mut ConfigSection<'_>) -> usize {
    const MAX_CAPACITY: usize = 1_000_000;
    let expected = format!("a whole number from 1 to {MAX_CAPACITY}");
    let capacity = section.get_or("queue_capacity", 4096, &expected);
    if !(1..=MAX_CAPACITY).contains(&capacity) {
        section.error("queue_capacity", format!("is {capacity}"), expected);
    }
    capacity
}

/// Returns whether it is a valid name for a sink. `__` would end it in an environment variable's name.
fn is_sink_name(name: &str) -> bool {
    let letters =
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    let ends = name.ends_with(|last: char| last.is_ascii_alphanumeric());
    letters && begins && ends && !name.contains("__")
}

#[cfg(test)]
mod tests;
