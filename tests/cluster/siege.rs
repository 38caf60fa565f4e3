//! Against a real API server and a fake Slack: five kills a second, while the program is killed, stopped and cut off at
//! random moments. No kill is lost, none has two Events, and each that Slack is told of twice is explained.
//!
//! `SIEGE_SECONDS` is how long it goes on at least; `SIEGE_SEED` repeats one, as far as time can be repeated.
#![expect(clippy::print_stdout, reason = "it counts what is told twice")]

use std::{collections::BTreeMap, env, time::Duration};

use support::{
    ControlPlane, Error, Namespace, eventually,
    program::{PATIENCE, Program},
    slack::{Message, Slack},
    sockets::CutLine,
};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, interval, sleep},
};

use super::ledger::{OWED, annotations, kill};

const WORKLOADS: usize = 30;
const KILL_INTERVAL: Duration = Duration::from_millis(200);
/// How long the note of an answer may take.
const NOTED_WITHIN: Duration = Duration::from_secs(10);

/// A random number generator, and for how long to go on.
fn begin() -> (fastrand::Rng, Duration) {
    let number = |name| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let seed = number("SIEGE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SIEGE_SEED={seed}");
    (fastrand::Rng::with_seed(seed), Duration::from_secs(number("SIEGE_SECONDS").unwrap_or(20)))
}

/// Kills that go on until they are told to end. The answer is then how many there were.
struct OngoingKills {
    ends: watch::Sender<bool>,
    killing: JoinHandle<usize>,
}

impl OngoingKills {
    fn begin(namespace: &Namespace) -> Self {
        let (ends, end) = watch::channel(false);
        let namespace = namespace.clone();
        let killing = tokio::spawn(async move {
            let (mut kills, mut tick) = (JoinSet::new(), interval(KILL_INTERVAL));
            while !*end.borrow() {
                tick.tick().await;
                let (number, namespace) = (kills.len(), namespace.clone());
                kills.spawn(async move { kill(&namespace, number % WORKLOADS, number / WORKLOADS).await });
            }
            kills.join_all().await.len()
        });
        Self { ends, killing }
    }

    async fn end(self) -> usize {
        self.ends.send_replace(true);
        self.killing.await.unwrap()
    }
}

/// Waits until each kill has an Event.
async fn all_written(namespace: &Namespace, kills: usize) -> Result<(), Error> {
    eventually(format!("{kills} Events"), PATIENCE, async || {
        (annotations(namespace).await.len() >= kills).then_some(())
    })
    .await
}

/// Each kill has one Event that owes nothing, and each Pod is named in Slack. A Pod that is named twice needs an
/// explanation.
async fn nothing_is_lost(
    namespace: &Namespace,
    slack: &Slack,
    kills: usize,
    explains: impl Fn(&Message, &Message) -> bool,
) {
    let events = annotations(namespace).await;
    assert_eq!(events.len(), kills);
    let owed: Vec<_> = events.iter().filter(|(_, annotations)| annotations.contains_key(OWED)).collect();
    assert!(owed.is_empty(), "{owed:?}");
    let mut told: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for message in slack.messages().into_iter().filter(|message| message.stored) {
        for pod in &message.pods {
            told.entry(pod.clone()).or_default().push(message.clone());
        }
    }
    let untold: Vec<_> = events.keys().filter(|pod| !told.contains_key(*pod)).collect();
    assert!(untold.is_empty(), "Slack was not told of {untold:?}");
    let mut doubled = 0;
    for (pod, messages) in &told {
        for pair in messages.windows(2) {
            doubled += 1;
            let show = |message: &Message| (message.at, message.path.clone());
            assert!(explains(&pair[0], &pair[1]), "{pod} without a reason: {:?}", messages.iter().map(show));
        }
    }
    println!("{kills} kills; {} messages; {doubled} Pods named again, all explained", slack.messages().len());
}

#[tokio::test]
async fn nothing_is_lost_though_the_program_is_killed_every_three_seconds() -> Result<(), Error> {
    let (mut random, duration) = begin();
    let cluster = ControlPlane::start().await?;
    let (namespace, slack, begun) = (cluster.namespace("siege").await?, Slack::good().await, Instant::now());
    let url = slack.url();
    let environment = [
        ("OOM_SINKS__EVENTS__TYPE", "kubernetes"),
        ("OOM_SINKS__TEAM__TYPE", "slack"),
        ("OOM_SINKS__TEAM__WEBHOOK_URL", &url),
    ];
    let kills = OngoingKills::begin(&namespace);
    let mut deaths = Vec::new();
    while begun.elapsed() < duration {
        let mut program = Program::start(&cluster.kubeconfig(), &[], &environment);
        sleep(Duration::from_millis(random.u64(100..6000))).await;
        program.signal("KILL").await;
        deaths.push(begun.elapsed());
        program.ended().await;
    }
    let program = Program::ready(&cluster.kubeconfig(), &[], &environment).await;
    let kills = kills.end().await;
    all_written(&namespace, kills).await?;
    assert_eq!(program.stop().await, Some(0));
    println!("killed {} times", deaths.len());
    nothing_is_lost(&namespace, &slack, kills, |first, second| {
        // The fake's clock began a moment before.
        let moment = Duration::from_millis(100);
        deaths.iter().any(|death| {
            first.at <= *death + moment
                && *death <= second.at
                && death.saturating_sub(first.at) < NOTED_WITHIN
        })
    })
    .await;
    Ok(())
}

/// A replica, which posts to a path of its own.
struct RunningReplica {
    name: String,
    program: Program,
    line: CutLine,
}

impl RunningReplica {
    async fn start(cluster: &ControlPlane, namespace: &Namespace, slack: &Slack, number: usize) -> Self {
        let (name, line) = (format!("replica-{number}"), CutLine::to(&cluster.kubeconfig()).await);
        let url = format!("{}/services/T/B/{name}", slack.host());
        let environment = [
            ("POD_NAMESPACE", namespace.name()),
            ("POD_NAME", &name),
            ("OOM_LEADER_ELECTION__LEASE", "oom"),
            ("OOM_SINKS__EVENTS__TYPE", "kubernetes"),
            ("OOM_SINKS__TEAM__TYPE", "slack"),
            ("OOM_SINKS__TEAM__WEBHOOK_URL", &url),
        ];
        Self { program: Program::start(line.kubeconfig(), &[], &environment), name, line }
    }

    async fn leads(&self, within: Duration) -> Result<(), Error> {
        eventually(format!("{} leads", self.name), within, async || {
            (self.program.address().is_some() && self.program.metric("leader").await == 1).then_some(())
        })
        .await
    }
}

/// What happens to a leader.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Killed,
    Stopped,
    CutOff,
}

#[tokio::test]
async fn nothing_is_lost_though_the_leader_is_killed_stopped_and_cut_off() -> Result<(), Error> {
    let (mut random, duration) = begin();
    let cluster = ControlPlane::start().await?;
    let (namespace, slack) = (cluster.namespace("siege").await?, Slack::good().await);
    let start = async |number| RunningReplica::start(&cluster, &namespace, &slack, number).await;
    let mut leader = start(0).await;
    leader.leads(PATIENCE).await?;
    let (mut standby, mut replicas) = (start(1).await, 2);
    standby.program.is_ready().await;
    let (kills, mut leaders) = (OngoingKills::begin(&namespace), vec![leader.name.clone()]);
    let mut mishaps = [Mishap::Killed, Mishap::Stopped, Mishap::CutOff];
    random.shuffle(&mut mishaps);
    for mishap in mishaps {
        sleep(duration.mul_f64(random.f64() / 3.0)).await;
        let begun = Instant::now();
        match mishap {
            Mishap::Killed => leader.program.signal("KILL").await,
            Mishap::Stopped => leader.program.signal("STOP").await,
            Mishap::CutOff => leader.line.cut(true),
        }
        standby.leads(Duration::from_secs(20)).await?;
        println!("{mishap:?}: taken over after {:?}", begun.elapsed());
        leaders.push(standby.name.clone());
        (leader, standby) = (standby, leader);
        sleep((begun + duration).saturating_duration_since(Instant::now())).await;
        match mishap {
            Mishap::Killed => {
                standby = start(replicas).await;
                replicas += 1;
            }
            Mishap::Stopped => standby.program.signal("CONT").await,
            Mishap::CutOff => standby.line.cut(false),
        }
        let knows = format!(
            "standing by: another replica holds the Lease {}/oom holder=\"{}_",
            namespace.name(),
            leader.name
        );
        eventually(&knows, PATIENCE, async || standby.program.stderr().contains(&knows).then_some(()))
            .await?;
    }
    let kills = kills.end().await;
    all_written(&namespace, kills).await?;
    assert_eq!(leader.program.stop().await, Some(0));
    standby.leads(Duration::from_secs(5)).await?;
    leaders.push(standby.name.clone());
    assert_eq!(standby.program.stop().await, Some(0));

    nothing_is_lost(&namespace, &slack, kills, |first, second| first.path != second.path).await;
    // Whoever leads tells alone, until the next one does.
    let mut told: Vec<String> = slack.messages().into_iter().map(|message| message.path).collect();
    told.dedup();
    let mut leaders = leaders.iter();
    assert!(
        told.iter().all(|path| leaders.any(|leader| path.ends_with(leader.as_str()))),
        "{told:?} begin calls in the place of {leaders:?}"
    );
    Ok(())
}
