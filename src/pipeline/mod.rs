//! Connects source, filter, fan-out and sinks, runs them, and shuts them down in order: first the source
//! stops, then the queues are delivered.

mod backlog;
mod detection;
mod duty;
mod recovery;
mod rights;
mod stages;
mod standby;

use std::{pin::pin, sync::Arc, time::Duration};

use cluster::{ConnectError, current_site, in_pod};
use kube::Client;
use settings::spell;
use sinks::{Grouping, SinkBuildError, SinkContext};
use thiserror::Error;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;

pub use self::detection::Detection;
use self::{backlog::Backlog, duty::Duty, recovery::OwedReader, stages::Stages};
use crate::{
    config::Config,
    fanout::{Drained, Fanout, Route},
    filter::FilterSettings,
    health::Readiness,
    incidents::RecentIncidents,
    leadership::{Election, Leadership},
    metrics::Metrics,
    server::{self, BindError, PageSource},
    source::{objects::keep_labels, observe::observe, scopes},
    stop::Stop,
};

/// How often the pipeline reports progress to the health check.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// How long lists wait for the API server to say which rights there are. Findings from before it does are not
/// in the ledger.
const RIGHTS_PATIENCE: Duration = Duration::from_secs(10);

/// Why the pipeline failed.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The HTTP endpoint can't be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no client of the cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A sink can't be made.
    #[error("can't make the sink {name}")]
    Sink {
        /// Its name in the configuration.
        name: String,
        /// What is missing, and what to do.
        source: SinkBuildError,
    },
    /// A watch panicked.
    #[error("a watch of the cluster panicked; please report this bug with the log above")]
    Source,
    /// Not everything was delivered.
    #[error("findings that were not delivered: {0}; the log above has each of them whole")]
    Undelivered(u64),
    /// Not everything was delivered, but nothing is lost.
    #[error("findings that were not delivered: {0}; their Events say so, and the next start delivers them")]
    HandedOver(u64),
}

/// Watches the cluster and delivers findings until it is told to stop, then delivers what is queued.
/// `connect` makes the cluster's client.
///
/// # Errors
///
/// It can't start, a watch panicked, or findings were left undelivered.
pub async fn run(
    config: Config,
    connect: impl FnOnce() -> Result<Client, ConnectError>,
    stop: Stop,
) -> Result<(), PipelineError> {
    let client = connect()?;
    log_start(&config);
    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::new();
    let detection = Detection::new(&config, &metrics);
    let _endpoint = open_endpoint(&config, &metrics, &readiness, detection.recent_incidents())?;
    let routes = routes(&config, &client, &stop)?;
    keep_labels(config.sinks.iter().flat_map(|sink| sink.matches.label_keys()));
    let observations = observe(&client, config.namespaces.include(), &metrics, &readiness);
    let (leadership, election) = stand_for_election(&config, &client, &metrics);
    let scopes = scopes(config.namespaces.include()).len();
    let mut stages = Stages {
        client: &client,
        config: &config,
        fanout: Fanout::start(routes, Arc::clone(&metrics), &leadership),
        duty: Duty::new(leadership.clone(), scopes, config.lookback),
        metrics,
        readiness,
        leadership,
        observations,
        detection,
        backlog: Backlog::default(),
        owed: OwedReader::new(),
        rights: None,
    };
    let mut heartbeat = heartbeat();
    // Lists wait until it is known where the ledger may be kept, but not for long.
    let (mut rights, mut rights_known) = (pin!(rights::ask(&client, &config)), false);
    let (mut patience, mut lists_wait) = (pin!(sleep(RIGHTS_PATIENCE)), true);
    let ended = loop {
        tokio::select! {
            () = stop.asked() => break Ok(()),
            rights = &mut rights, if !rights_known => {
                (rights_known, lists_wait) = (true, false);
                stages.learn_rights(rights);
            }
            () = &mut patience, if lists_wait => lists_wait = false,
            () = stages.duty.changes(), if !lists_wait => stages.change_duty().await,
            _ = heartbeat.tick() => stages.beat(),
            () = stages.fanout.room_for_list(stages.backlog.waits_until()), if !stages.backlog.is_empty() => {
                stages.send_backlog();
            }
            observation = stages.observations.next(!lists_wait && stages.backlog.is_empty()) => {
                let Some(observation) = observation else { break Err(PipelineError::Source) };
                stages.take_in(observation).await;
            }
        }
    };
    if let Err(error) = &ended {
        tracing::error!("{error}");
    }
    let drained = stages.drain(config.shutdown_grace, stop.at_once()).await;
    if let Some(election) = election {
        election.resign().await;
    }
    conclude(ended, &drained)
}

/// Returns what the program ends with: what was not delivered counts more than why it stopped.
fn conclude(ended: Result<(), PipelineError>, drained: &Drained) -> Result<(), PipelineError> {
    match *drained {
        Drained { undelivered: 0, handed_over: 0 } => {
            tracing::info!("stopped: nothing is left undelivered");
            ended
        }
        Drained { undelivered: 0, handed_over } => Err(PipelineError::HandedOver(handed_over)),
        Drained { undelivered, .. } => Err(PipelineError::Undelivered(undelivered)),
    }
}

/// Opens the HTTP endpoint if there is one; it is closed when the handle is dropped.
fn open_endpoint(
    config: &Config,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
    incidents: RecentIncidents,
) -> Result<Option<AbortOnDropHandle<()>>, BindError> {
    let Some(server) = config.server else { return Ok(None) };
    let listener = server::bind(server.address, in_pod())?;
    Ok(listener.map(|listener| {
        let page = server.page.then(|| page_source(config, incidents));
        let serving = server::serve(listener, Arc::clone(metrics), readiness.clone(), page);
        AbortOnDropHandle::new(tokio::spawn(serving))
    }))
}

/// Takes part in the election if there are several replicas; the only one leads.
fn stand_for_election(
    config: &Config,
    client: &Client,
    metrics: &Arc<Metrics>,
) -> (Leadership, Option<Election>) {
    let Some(lease) = config.lease.clone() else {
        metrics.leads(true);
        return (Leadership::alone(), None);
    };
    let (election, leadership) = Election::start(client.clone(), lease, &config.own_pod, Arc::clone(metrics));
    (leadership, Some(election))
}

fn heartbeat() -> Interval {
    let mut heartbeat = interval(HEARTBEAT_INTERVAL);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

/// Logs the version, which cluster this is, what is watched, and where findings go: before anything is written.
fn log_start(config: &Config) {
    let sinks = config.sinks.iter().map(|sink| format!("{} ({})", sink.name, sink.sink_type.name));
    let site = current_site().map(|site| format!(" of {} ({})", site.api_server, site.found_by));
    let writes = config.sinks.iter().any(|sink| sink.sink_type.remembers);
    let writes = if writes { "; it gets an Event for each kill" } else { "" };
    tracing::info!(
        "version {}: watching {}{}{writes}; lookback {}, sinks {}",
        env!("CARGO_PKG_VERSION"),
        watched(config),
        site.unwrap_or_default(),
        spell(config.lookback),
        sinks.collect::<Vec<_>>().join(", "),
    );
}

/// Returns what is watched, for people.
fn watched(config: &Config) -> String {
    match config.namespaces.include() {
        [] => "the whole cluster".to_owned(),
        [name] => format!("the namespace {name}"),
        names => format!("the namespaces {}", names.join(", ")),
    }
}

fn page_source(config: &Config, incidents: RecentIncidents) -> PageSource {
    PageSource {
        cluster: config.cluster.clone(),
        watched: watched(config),
        sinks: config.sinks.iter().map(|sink| sink.name.clone()).collect(),
        incidents,
    }
}

/// Returns the filter's settings.
pub fn settings(config: &Config) -> FilterSettings {
    FilterSettings {
        cluster: config.cluster.clone(),
        namespaces: config.namespaces.clone(),
        lookback: config.lookback,
        report_unrestarted: config.report_unrestarted,
        advice: config.advice,
    }
}

fn routes(config: &Config, client: &Client, stop: &Stop) -> Result<Vec<Route>, PipelineError> {
    let only_stdout = config.sinks.iter().all(|sink| sink.sink_type.owns_stdout);
    if only_stdout {
        stop.when_stdout_closes();
    }
    let context = SinkContext { kubernetes: Some(client.clone()), only_stdout };
    let any_remembers = config.sinks.iter().any(|sink| sink.sink_type.remembers);
    let route = |sink: &crate::config::SinkConfig| {
        let matches = sink.matches.clone();
        let ignores = config.honor_ignore && !sink.sink_type.remembers;
        let made = sink.settings.build(&context);
        let made = made.map_err(|source| PipelineError::Sink { name: sink.name.clone(), source })?;
        Ok(Route {
            name: sink.name.clone(),
            sink: made,
            matches: Box::new(move |finding| {
                matches.matches(finding) && !(ignores && finding.pod.asks_to_be_ignored)
            }),
            grouping: sink.grouping,
            retry_for: sink.retry_for,
            queue_capacity: sink.queue_capacity,
            remembers: sink.sink_type.remembers,
            send_resolved: sink.send_resolved,
            // Without a sink that remembers, those that take findings as they come.
            paces_lists: if any_remembers {
                sink.sink_type.remembers
            } else {
                sink.grouping == Grouping::NONE
            },
        })
    };
    config.sinks.iter().map(route).collect()
}
