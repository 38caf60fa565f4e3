//! What happens in the synthetic cluster: goes in, an [`Order`]; comes out, what became of it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    objects::{Moment, Sight},
    orders::{Delays, Order, Resource},
    server::{Chunk, Server, tally},
};

/// Lines are sent in pieces of about this many bytes when they are to be taken as fast as it goes.
const PIECE: usize = 64 * 1024;
/// How long after a kill it is confirmed.
const CONFIRMED_AFTER: Duration = Duration::from_millis(100);
/// How long a kill may take to be told of before it counts as missed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many kills of a simulated day are under way at a time.
const UNDER_WAY: u64 = 4;

/// How a kill comes to light. The kubelet's first restarts come at once, later ones have to wait,
/// and of some it writes no Event.
#[derive(Clone, Copy)]
enum Course {
    /// `Started` comes after a status that shows the kill as the container's present state.
    AtOnce,
    /// `Started` comes after a status that shows the kill as its last state.
    AfterBackOff,
    /// Only the next status shows that it was started again.
    WithoutEvent,
}

/// Carries out an order.
pub async fn obey(server: &Server, order: Order) -> Result<Value, serde_json::Error> {
    match order {
        Order::Await { resources, within } => {
            serde_json::to_value(server.await_watches(&resources, within).await)
        }
        Order::Flood { resource, changes, then_kill } => {
            serde_json::to_value(flood(server, resource, changes, then_kill).await)
        }
        Order::Churn { changes, kills, lasting } => {
            serde_json::to_value(churn(server, changes, kills, lasting).await)
        }
        Order::Day { changes, kills } => serde_json::to_value(day(server, changes, kills).await),
        Order::Tally => serde_json::to_value(tally(server)),
    }
}

async fn flood(server: &Server, resource: Resource, changes: u64, then_kill: bool) -> bool {
    // Before that nobody knows in what.
    if !server.await_watches(&[resource], PATIENCE).await {
        return false;
    }
    let target = server.cluster().target();
    let name = server.cluster().name(target);
    server.kills().told.remove(&name);
    let show_kill = async || {
        let mut line = Vec::new();
        server.cluster().killed(&mut line, target, Sight::BackingOff, &Moment::now());
        server.send(Resource::Pods, line).await;
    };
    if then_kill && resource == Resource::Events {
        show_kill().await;
        sleep(CONFIRMED_AFTER).await;
    }
    let mut piece = Vec::new();
    let mut moment = Moment::now();
    let mut sent = 0;
    while sent < changes {
        sent += match resource {
            Resource::Pods => server.cluster().change(&mut piece, &moment),
            Resource::Events => server.cluster().start(&mut piece, &moment),
        };
        if piece.len() >= PIECE {
            server.send(resource, std::mem::take(&mut piece)).await;
            piece.reserve(PIECE + 16 * 1024);
            moment = Moment::now();
        }
    }
    server.send(resource, piece).await;
    if !then_kill {
        return true;
    }
    if resource == Resource::Pods {
        show_kill().await;
    }
    let begun = Instant::now();
    let mut told = false;
    while !told && begun.elapsed() < PATIENCE * 6 {
        let mut line = Vec::new();
        server.cluster().started(&mut line, target, &Moment::now());
        server.send(Resource::Events, line).await;
        sleep(CONFIRMED_AFTER).await;
        told = server.kills().told.contains_key(&name);
    }
    let mut line = Vec::new();
    server.cluster().restarted(&mut line, target, &Moment::now());
    server.send(Resource::Pods, line).await;
    told
}

async fn churn(server: &Server, changes: u64, kills: u32, lasting: Duration) -> Delays {
    let end = Instant::now() + lasting;
    let mut running = JoinSet::new();
    let every = |rate: u32| {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticks
    };
    if let Some(rate) = u32::try_from(changes).ok().filter(|rate| *rate > 0) {
        let (server, mut ticks) = (server.clone(), every(rate));
        running.spawn(async move {
            while Instant::now() < end {
                ticks.tick().await;
                let mut line = Vec::new();
                server.cluster().change(&mut line, &Moment::now());
                server.send(Resource::Pods, line).await;
            }
        });
    }
    let mut ticks = every(kills);
    let mut names = Vec::new();
    let mut courses = [Course::AtOnce, Course::AfterBackOff, Course::WithoutEvent].into_iter().cycle();
    while Instant::now() < end {
        ticks.tick().await;
        let Some(course) = courses.next() else { break };
        let target = server.cluster().target();
        let name = server.cluster().name(target);
        names.push(name.clone());
        let server = server.clone();
        running.spawn(async move { kill(&server, target, name, course).await });
    }
    running.join_all().await;
    let begun = Instant::now();
    while names.iter().any(|name| !server.kills().told.contains_key(name)) && begun.elapsed() < PATIENCE {
        sleep(CONFIRMED_AFTER).await;
    }
    let mut known = server.kills();
    let delay = |name: &String| {
        let told = known.told.get(name)?;
        Some(told.saturating_duration_since(*known.confirmed.get(name)?))
    };
    let delays: Vec<Duration> = names.iter().filter_map(delay).collect();
    known.confirmed.clear();
    known.told.clear();
    Delays { kills: names.len(), found: delays.len(), told_after: delays }
}

async fn kill(server: &Server, target: usize, name: String, course: Course) {
    let pods = async |spell: &(dyn Fn(&mut Vec<u8>) + Sync), confirms| {
        let mut line = Vec::new();
        spell(&mut line);
        server.send(Resource::Pods, Chunk { lines: line.into(), confirms }).await;
    };
    let sight = match course {
        Course::AtOnce | Course::WithoutEvent => Sight::Killed,
        Course::AfterBackOff => Sight::BackingOff,
    };
    pods(&|line| server.cluster().killed(line, target, sight, &Moment::now()), None).await;
    sleep(CONFIRMED_AFTER).await;
    let restarted = |line: &mut Vec<u8>| server.cluster().restarted(line, target, &Moment::now());
    if matches!(course, Course::WithoutEvent) {
        return pods(&restarted, Some(name)).await;
    }
    let mut line = Vec::new();
    server.cluster().started(&mut line, target, &Moment::now());
    server.send(Resource::Events, Chunk { lines: line.into(), confirms: Some(name) }).await;
    // The status is late, as the kubelet's is.
    sleep(CONFIRMED_AFTER * 5).await;
    pods(&restarted, None).await;
}

/// A day in as little time as it takes: kills are spread over the Pods that are there to be killed, and
/// half of them are confirmed by an Event. A day has a kill a second at most, so only a few are under way
/// at a time.
async fn day(server: &Server, changes: u64, kills: u64) -> Delays {
    let mut day = Day { server, before: server.kills().count, kills: 0, missed: 0 };
    let every = (changes / kills.max(1)).max(2);
    let mut piece = Vec::new();
    let mut target = None;
    let mut moment = Moment::now();
    for change in 0..changes {
        if change % every == 0 {
            if day.under_way() > UNDER_WAY {
                server.send(Resource::Pods, std::mem::take(&mut piece)).await;
                day.catch_up(UNDER_WAY, Duration::from_secs(1)).await;
            }
            let at = server.cluster().target();
            server.cluster().killed(&mut piece, at, Sight::Killed, &moment);
            target = Some(at);
            day.kills += 1;
        } else if change % every == every / 2
            && let Some(at) = target.take()
        {
            if day.kills.is_multiple_of(2) {
                let mut line = Vec::new();
                server.cluster().started(&mut line, at, &moment);
                server.send(Resource::Events, line).await;
            }
            server.cluster().restarted(&mut piece, at, &moment);
        } else {
            server.cluster().change(&mut piece, &moment);
        }
        if piece.len() >= PIECE {
            server.send(Resource::Pods, std::mem::take(&mut piece)).await;
            moment = Moment::now();
        }
    }
    server.send(Resource::Pods, piece).await;
    day.catch_up(0, PATIENCE).await;
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let (kills, found) = (count(day.kills), count(day.found()));
    server.kills().told.clear();
    Delays { kills, found, told_after: Vec::new() }
}

/// How the kills of a simulated day are coming along.
struct Day<'a> {
    server: &'a Server,
    /// What was told before it.
    before: u64,
    kills: u64,
    /// Kills that nobody waits for any more.
    missed: u64,
}

impl Day<'_> {
    fn found(&self) -> u64 {
        self.server.kills().count - self.before
    }

    fn under_way(&self) -> u64 {
        self.kills.saturating_sub(self.found() + self.missed)
    }

    /// Waits until so few are under way. What isn't told of for so long is missed.
    async fn catch_up(&mut self, few: u64, patience: Duration) {
        let (mut begun, mut last) = (Instant::now(), self.found());
        while self.under_way() > few {
            sleep(Duration::from_millis(1)).await;
            if self.found() > last {
                (begun, last) = (Instant::now(), self.found());
            }
            if begun.elapsed() > patience {
                self.missed += self.under_way();
            }
        }
    }
}
