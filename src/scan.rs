//! Looks at the cluster once and prints what is OOM-killed in it: every Pod goes through the same filter, as if
//! nothing came before or after it.

use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anstream::AutoStream;
use cluster::{ConnectError, connect, connect_to};
use finding::AdvicePolicy;
use jiff::Timestamp;
use kube::Client;
use rustix::termios::tcgetwinsize;
use sinks::stdout::line;
use thiserror::Error;
use tokio::time::interval;

use crate::{
    cli::{ScanArguments, SortOrder, TableFormat},
    config::Namespaces,
    filter::{Conclusion, Filter, FilterSettings},
    incidents::Incidents,
    source::{Observation, RequestFailure, Scope, list_pods, objects::Pod, scopes},
    table::{KillRow, ListedKill, RowSubject, rows, text},
};

/// How often the count of Pods is drawn anew.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Why a scan has no result.
#[derive(Debug, Error)]
pub enum ScanError {
    /// There is no client of the cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The account may not list the Pods of the whole cluster.
    #[error(
        "{}. Look at one namespace with --namespace NAME, or have a ClusterRole grant you the verb list on pods \
         (API group \"\")", .0.problem()
    )]
    ForbiddenCluster(RequestFailure),
    /// The account may not list the Pods of a namespace.
    #[error(
        "{}. Look at another namespace with --namespace NAME, or have a Role in it grant you the verb list on pods \
         (API group \"\")", .0.problem()
    )]
    ForbiddenNamespace(RequestFailure),
    /// The Pods can't be listed.
    #[error("{0}")]
    List(RequestFailure),
    /// The result can't be printed.
    #[error("can't print what was found")]
    Output(#[from] io::Error),
}

/// Lists the Pods, and prints the kills that they show. A reader that stops reading is no failure.
///
/// # Errors
///
/// The Pods can't be listed, or the result can't be printed.
pub async fn run(arguments: &ScanArguments, mut settings: FilterSettings) -> Result<(), ScanError> {
    let client = arguments.context.clone().map_or_else(connect, connect_to)?;
    if arguments.all_namespaces {
        settings.namespaces = Namespaces::default();
    }
    if let Some(name) = &arguments.namespace {
        settings.namespaces = Namespaces::only(name);
    }
    let namespaces = scopes(settings.namespaces.include());
    let mut survey = Survey::new(settings);
    for namespace in &namespaces {
        survey.list(&client, namespace.as_deref()).await?;
    }
    explain(&mut survey.kills, survey.advice.as_ref());
    match print(&survey, arguments, &namespaces) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

/// What one look at the cluster shows.
struct Survey {
    filter: Filter,
    advice: Option<AdvicePolicy>,
    /// The Pods of the lists that are complete, and of the one under way.
    pods: usize,
    kills: Vec<ListedKill>,
}

impl Survey {
    fn new(settings: FilterSettings) -> Self {
        let (advice, settings) = (settings.advice, FilterSettings { report_unrestarted: true, ..settings });
        Self { filter: Filter::new(settings), advice, pods: 0, kills: Vec::new() }
    }

    /// Takes in the Pods of a namespace, without one those of the whole cluster.
    async fn list(&mut self, client: &Client, namespace: Option<&str>) -> Result<(), ScanError> {
        let before = (self.pods, self.kills.len());
        let counted = std::cell::Cell::new(self.pods);
        let listing = list_pods(client, namespace, |observation| {
            match observation {
                // The list may begin anew.
                Observation::ListBegins { .. } => {
                    self.pods = before.0;
                    self.kills.truncate(before.1);
                }
                Observation::Listed(scope, pod) => self.look_at(scope, pod),
                _ => {}
            }
            counted.set(self.pods);
        });
        let listed = with_progress(listing, || counted.get()).await;
        listed.map_err(|failure| match namespace {
            None if failure.is_forbidden() => ScanError::ForbiddenCluster(failure),
            Some(_) if failure.is_forbidden() => ScanError::ForbiddenNamespace(failure),
            _ => ScanError::List(failure),
        })
    }

    fn look_at(&mut self, scope: Scope, pod: Box<Pod>) {
        let now = Some(Timestamp::now());
        let restarts: HashMap<String, Option<u32>> =
            pod.statuses().map(|(_, status)| (status.name.clone(), status.restart_count)).collect();
        // A change has no horizon, and after the end nothing is left to remember.
        let mut conclusions = self.filter.observe(Observation::Changed(scope, pod), now);
        conclusions.extend(self.filter.finish());
        self.pods += 1;
        self.kills.extend(conclusions.into_iter().filter_map(|conclusion| match conclusion {
            Conclusion::Finding(finding) => {
                let restarts = restarts.get(&finding.container.name).copied().flatten();
                let detected_at = finding.detected_at.or(now);
                Some(ListedKill { finding: finding::Finding { detected_at, ..*finding }, restarts })
            }
            Conclusion::UnobservedEnds { .. } => None,
        }));
    }
}

/// Explains each kill by those of its container that its Pods and others show. They are too few to tell how many its
/// incident has.
fn explain(kills: &mut [ListedKill], advice: Option<&AdvicePolicy>) {
    let mut incidents = Incidents::default();
    kills.sort_by_key(|kill| kill.finding.killed.finished_at);
    for ListedKill { finding, .. } in kills {
        let history = incidents.add(finding);
        finding.explain(advice, &history);
        finding.incident = None;
    }
}

/// Draws how many Pods have come, while a list is under way and somebody looks on.
async fn with_progress<T>(listing: impl Future<Output = T>, count: impl Fn() -> usize) -> T {
    const FRAMES: [char; 4] = ['|', '/', '-', '\\'];
    if !io::stderr().is_terminal() {
        return listing.await;
    }
    let mut listing = std::pin::pin!(listing);
    let mut frames = FRAMES.iter().cycle();
    let mut clock = interval(PROGRESS_INTERVAL);
    // Most lists end before the second tick.
    clock.tick().await;
    let mut drawn = false;
    let listed = loop {
        tokio::select! {
            listed = &mut listing => break listed,
            _ = clock.tick() => {
                let frame = frames.next().unwrap_or(&' ');
                write!(io::stderr(), "\r{frame} {} Pods", count()).unwrap_or_default();
                drawn = true;
            }
        }
    };
    if drawn {
        write!(io::stderr(), "\r\u{1b}[K").unwrap_or_default();
    }
    listed
}

fn print(survey: &Survey, arguments: &ScanArguments, namespaces: &[Option<String>]) -> io::Result<()> {
    let kills = survey.kills.iter().cloned();
    let nothing = || {
        let place = match namespaces {
            [None] => "the whole cluster".to_owned(),
            [Some(name)] => format!("the namespace {name}"),
            names => format!("{} namespaces", names.len()),
        };
        match survey.pods {
            0 => format!("No OOM kill: there is no Pod in {place}."),
            1 => format!("No OOM kill: the one Pod in {place} shows none."),
            pods => format!("No OOM kill: none of the {pods} Pods in {place} shows one."),
        }
    };
    print_kills(kills, arguments.output, arguments.sort, nothing)
}

/// Prints kills to stdout, or a sentence where there are none: to stderr if stdout is for findings.
///
/// # Errors
///
/// Stdout can't be written to.
pub fn print_kills(
    kills: impl IntoIterator<Item = ListedKill>,
    format: TableFormat,
    order: SortOrder,
    nothing: impl FnOnce() -> String,
) -> io::Result<()> {
    let subject = if format == TableFormat::Wide { RowSubject::Pod } else { RowSubject::Workload };
    let rows = rows(kills, subject, order);
    if rows.is_empty() && format == TableFormat::Json {
        // Without a stderr there is nobody to tell.
        writeln!(io::stderr(), "{}", nothing()).unwrap_or_default();
        return Ok(());
    }
    let size = tcgetwinsize(io::stdout()).ok();
    let width = size.map(|size| size.ws_col.into()).filter(|width| *width > 0);
    let printed = match format {
        _ if rows.is_empty() => nothing() + "\n",
        TableFormat::Json => rows.iter().flat_map(KillRow::findings).map(|kill| line(kill) + "\n").collect(),
        TableFormat::Table | TableFormat::Wide => text(&rows, subject, Timestamp::now(), width),
    };
    let mut stdout = AutoStream::auto(io::stdout());
    stdout.write_all(printed.as_bytes())?;
    stdout.flush()
}
