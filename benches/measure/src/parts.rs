//! What is measured. Goes in: the programs, and how thoroughly. Comes out: rows of the table.

use std::{fs, path::Path, thread::sleep, time::Duration};

use crate::{
    Options, Outcome,
    limits::decode_from_memory,
    orders::{Delays, Order, Resource, Tally},
    process::{ResidentMemory, RunningProcess, ServerProcess},
    table::{Goal, Row, Unit, median},
};

/// How long a process is left alone before its settled memory is read.
const SETTLED: Duration = Duration::from_secs(5);
/// How many Pods there are when it isn't their number that matters.
const PODS: usize = 10_000;
/// The API server allows the original five Events a second, by a limit of its own.
const KILLS_PER_SECOND: u32 = 4;
/// Changes, in a second and in the day that is simulated.
const BUSY: u64 = 1000;
const KILLS_OF_A_DAY: u64 = 100;

/// What is measured, and how.
pub struct Run<'a> {
    /// The program, and perhaps another.
    pub programs: &'a [&'a Path],
    pub options: &'a Options,
}

impl Run<'_> {
    /// What each program comes to.
    pub fn each<T>(&self, measure: impl FnMut(&&Path) -> Outcome<T>) -> Outcome<Vec<T>> {
        self.programs.iter().map(measure).collect()
    }

    pub fn size(&self) -> Outcome<Vec<Row>> {
        #[expect(clippy::cast_precision_loss, reason = "no program has 2^53 bytes")]
        let sizes = self.each(|program| Ok(fs::metadata(program)?.len() as f64))?;
        Ok(vec![Row::new("size of the binary", Unit::Bytes, &sizes).goal(Goal::AtMost(8.75e6))])
    }

    pub fn memory(&self) -> Outcome<Vec<Row>> {
        let idle = idle()?;
        let mut rows =
            vec![Row::new("memory of an idle TLS client, peak", Unit::Bytes, &[]).limit(idle.peak)];
        let all = [1000, 10_000, 100_000];
        for pods in if self.options.quick { &all[2..] } else { &all } {
            let found = self.each(|program| watching(program, *pods))?;
            let column = |value: fn(&MemoryWatching) -> f64| found.iter().map(value).collect::<Vec<f64>>();
            let mut peak = Row::new(
                format!("peak memory, {pods} Pods with churn"),
                Unit::Bytes,
                &column(|it| it.after.peak),
            )
            .limit(idle.peak);
            if *pods == 100_000 {
                peak = peak.goal(Goal::AtMost(16e6)).goal(Goal::TimesLimit(2.0));
            }
            rows.extend([
                Row::new(format!("time to ready, {pods} Pods"), Unit::Seconds, &column(|it| it.ready)),
                Row::new(
                    format!("settled memory, {pods} Pods listed"),
                    Unit::Bytes,
                    &column(|it| it.listed.now),
                )
                .limit(idle.now),
                peak,
                Row::new(
                    format!("settled memory, {pods} Pods with churn"),
                    Unit::Bytes,
                    &column(|it| it.after.now),
                )
                .limit(idle.now),
            ]);
        }
        Ok(rows)
    }

    pub fn rest(&self) -> Outcome<Vec<Row>> {
        let lasting = self.options.rest();
        let hour = 3600.0 / lasting.as_secs_f64();
        let found = self.each(|program| {
            let mut server = ServerProcess::start(1000)?;
            let client = server.client(program)?;
            sleep(SETTLED);
            let before: Tally = server.order(&Order::Tally)?;
            sleep(lasting);
            let after: Tally = server.order(&Order::Tally)?;
            client.memory()?;
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            let in_an_hour = |count: fn(&Tally) -> u64| (count(&after) - count(&before)) as f64 * hour;
            Ok([in_an_hour(|it| it.watches), in_an_hour(|it| it.others), in_an_hour(|it| it.bytes)])
        })?;
        let column = |index: usize| found.iter().map(|values| values[index]).collect::<Vec<f64>>();
        let name = |what| format!("{what} an hour at rest (from {} s)", lasting.as_secs());
        Ok(vec![
            Row::new(name("watches"), Unit::Count, &column(0)),
            Row::new(name("other requests"), Unit::Count, &column(1)).goal(Goal::AtMost(0.0)),
            Row::new(name("bytes"), Unit::Count, &column(2)),
        ])
    }

    pub fn speed(&self) -> Outcome<Vec<Row>> {
        let mut rows = vec![self.listing()?];
        for (resource, name, changes) in
            [(Resource::Pods, "Pod changes", 100_000), (Resource::Events, "Event changes", 200_000)]
        {
            let mut floods = self.each(|program| Flooded::new(program))?;
            let mut limits = Vec::new();
            let mut from_memory = Vec::new();
            for _ in 0..self.options.rounds {
                for flood in &mut floods {
                    flood.round(resource, changes)?;
                }
                limits.push(reader(resource, changes)?);
                from_memory.push(decode_from_memory(resource, changes)?);
            }
            let rates: Vec<f64> = floods.iter().map(|flood| median(flood.rates.clone())).collect();
            let server = median(floods.swap_remove(0).shares);
            let row = Row::new(format!("{name} a CPU second"), Unit::PerSecond, &rates);
            rows.push(row.limit(median(limits)).server(server).goal(Goal::OfLimit(0.8)));
            let row =
                Row::new(format!("{name} a CPU second, limit: lines in memory"), Unit::PerSecond, &rates);
            rows.push(row.limit(median(from_memory)));
        }
        Ok(rows)
    }

    fn listing(&self) -> Outcome<Row> {
        let mut limits = Vec::new();
        let mut rates: Vec<Vec<f64>> = self.programs.iter().map(|_| Vec::new()).collect();
        let mut shares = Vec::new();
        for _ in 0..self.options.rounds {
            for (program, rates) in self.programs.iter().zip(&mut rates) {
                let mut server = ServerProcess::start(4 * PODS)?;
                let before = server.cpu()?;
                let client = server.client(program)?;
                let cpu = client.cpu()?;
                rates.push(rate(4 * PODS as u64, cpu));
                shares.push((server.cpu()? - before) / cpu);
            }
            let server = ServerProcess::start(4 * PODS)?;
            let cpu: f64 = server.own_client(&["read", "list", "0"])?.answer()?;
            limits.push(rate(4 * PODS as u64, cpu));
        }
        let rates: Vec<f64> = rates.into_iter().map(median).collect();
        let share = shares.iter().copied().step_by(self.programs.len()).collect();
        let name = "Pods listed a CPU second, from the start on";
        Ok(Row::new(name, Unit::PerSecond, &rates).limit(median(limits)).server(median(share)))
    }

    pub fn delay(&self) -> Outcome<Vec<Row>> {
        let mut rows = Vec::new();
        let mut round_trip = f64::NAN;
        for (changes, name, most) in [(0, "quiet", 2.0), (BUSY, "1,000 changes a second", 4.0)] {
            let found = self.each(|program| self.delays(program, changes))?;
            if changes == 0 {
                round_trip = median(found.iter().flat_map(|it| it.1.clone()).collect());
            }
            let part =
                |at: f64| -> Vec<f64> { found.iter().map(|it| quantile(&it.0.told_after, at)).collect() };
            let column = |value: fn(&Delays) -> usize| -> Vec<f64> {
                found.iter().map(|it| f64::from(u32::try_from(value(&it.0)).unwrap_or(u32::MAX))).collect()
            };
            let row = |what: &str, at| {
                Row::new(format!("delay, {name}, {what}"), Unit::Seconds, &part(at)).limit(round_trip)
            };
            rows.extend([
                Row::new(format!("kills, {name}"), Unit::Count, &column(|it| it.kills)),
                Row::new(format!("missed, {name}"), Unit::Count, &column(|it| it.kills - it.found))
                    .goal(Goal::AtMost(0.0)),
                row("p50", 0.5).goal(Goal::TimesLimit(most)),
                row("p99", 0.99),
                row("max", 1.0),
            ]);
        }
        Ok(rows)
    }

    /// How long kills take to be told of, and beside them the round trips of single POSTs.
    fn delays(&self, program: &Path, changes: u64) -> Outcome<(Delays, Vec<f64>)> {
        let mut server = ServerProcess::start(PODS)?;
        let client = server.client(program)?;
        sleep(SETTLED);
        let lasting = self.options.delay();
        let posts = lasting.as_secs() * u64::from(KILLS_PER_SECOND);
        let every = 1000 / KILLS_PER_SECOND;
        let mut poster = if changes == 0 {
            Some(server.own_client(&["post", &posts.to_string(), &every.to_string()])?)
        } else {
            None
        };
        let delays = server.order(&Order::Churn { changes, kills: KILLS_PER_SECOND, lasting })?;
        client.memory()?;
        let round_trips: Vec<Duration> = match &mut poster {
            Some(poster) => poster.answer()?,
            None => Vec::new(),
        };
        Ok((delays, round_trips.iter().map(Duration::as_secs_f64).collect()))
    }

    pub fn day(&self) -> Outcome<Vec<Row>> {
        let changes = self.options.day;
        let found = self.each(|program| {
            let mut server = ServerProcess::start(PODS)?;
            let client = server.client(program)?;
            sleep(SETTLED);
            let listed = client.memory()?;
            let kills = changes / KILLS_OF_A_DAY;
            let delays: Delays = server.order(&Order::Day { changes, kills })?;
            sleep(SETTLED);
            let after = client.memory()?;
            let missed = f64::from(u32::try_from(delays.kills.saturating_sub(delays.found))?);
            Ok([listed.now, after.now, after.peak, after.now / listed.now, missed])
        })?;
        let column = |index: usize| found.iter().map(|values| values[index]).collect::<Vec<f64>>();
        let name = |what: &str| format!("day of {changes} changes: {what}");
        Ok(vec![
            Row::new(name("memory before"), Unit::Bytes, &column(0)),
            Row::new(name("memory after"), Unit::Bytes, &column(1)),
            Row::new(name("peak"), Unit::Bytes, &column(2)),
            Row::new(name("after / before"), Unit::Ratio, &column(3)).goal(Goal::AtMost(1.1)),
            Row::new(name("kills missed"), Unit::Count, &column(4)).goal(Goal::AtMost(0.0)),
        ])
    }
}

fn rate(count: u64, cpu: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / cpu
}

fn quantile(delays: &[Duration], at: f64) -> f64 {
    let mut seconds: Vec<f64> = delays.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = (seconds.len() as f64 * at) as usize;
    seconds.get(index.min(seconds.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// What an idle TLS client needs.
fn idle() -> Outcome<ResidentMemory> {
    let mut server = ServerProcess::start(1)?;
    let mut client = server.own_client(&["idle"])?;
    client.answer::<()>()?;
    server.watched(&[Resource::Pods])?;
    sleep(SETTLED);
    client.process.memory()
}

struct MemoryWatching {
    ready: f64,
    listed: ResidentMemory,
    after: ResidentMemory,
}

/// What a program needs to list so many Pods, and then to take in changes of a fifth of them.
fn watching(program: &Path, pods: usize) -> Outcome<MemoryWatching> {
    let mut server = ServerProcess::start(pods)?;
    let begun = std::time::Instant::now();
    let client = server.client(program)?;
    let ready = begun.elapsed().as_secs_f64();
    sleep(SETTLED);
    let listed = client.memory()?;
    flood(&mut server, Resource::Pods, pods as u64 / 5)?;
    sleep(SETTLED);
    Ok(MemoryWatching { ready, listed, after: client.memory()? })
}

fn flood(server: &mut ServerProcess, resource: Resource, changes: u64) -> Outcome<()> {
    let was_told: bool = server.order(&Order::Flood { resource, changes, then_kill: true })?;
    if was_told { Ok(()) } else { Err("the kill after the changes was never told of".into()) }
}

/// A program that is flooded with changes, round by round.
struct Flooded {
    server: ServerProcess,
    client: RunningProcess,
    rates: Vec<f64>,
    /// What the server used, as a part of it.
    shares: Vec<f64>,
}

impl Flooded {
    fn new(program: &Path) -> Outcome<Self> {
        let mut server = ServerProcess::start(PODS)?;
        let client = server.client(program)?;
        sleep(SETTLED);
        Ok(Self { server, client, rates: Vec::new(), shares: Vec::new() })
    }

    fn round(&mut self, resource: Resource, changes: u64) -> Outcome<()> {
        let (before, servers) = (self.client.cpu()?, self.server.cpu()?);
        flood(&mut self.server, resource, changes)?;
        let used = self.client.cpu()? - before;
        self.rates.push(rate(changes, used));
        self.shares.push((self.server.cpu()? - servers) / used);
        Ok(())
    }
}

/// How many changes a CPU second a client takes in that only decodes them.
fn reader(resource: Resource, changes: u64) -> Outcome<f64> {
    let mut server = ServerProcess::start(PODS)?;
    let what = match resource {
        Resource::Pods => "pods",
        Resource::Events => "events",
    };
    let mut reader = server.own_client(&["read", what, &changes.to_string()])?;
    server.order::<bool>(&Order::Flood { resource, changes, then_kill: false })?;
    Ok(rate(changes, reader.answer()?))
}
