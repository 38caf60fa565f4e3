//! What is measured. Goes in: the programs, and how thoroughly. Comes out: rows of the table.

use std::{fs, path::Path, thread::sleep, time::Duration};

use crate::{
    Options, Outcome,
    objects::Encoding,
    orders::{Delays, Order, Resource, Tally},
    process::{ResidentMemory, ServerProcess},
    table::{Goal, Row, Unit, median},
};

/// How long a process is left alone before its settled memory is read.
pub const SETTLED: Duration = Duration::from_secs(5);
/// How many Pods there are when it isn't their number that matters.
pub const PODS: usize = 10_000;
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
        let all = [1000, 10_000, 100_000, 1_000_000];
        // Without optimisation the API server takes minutes to spell a million.
        let all = if cfg!(debug_assertions) { &all[..3] } else { &all[..] };
        for pods in if self.options.quick { &all[2..3] } else { all } {
            let found = self.each(|program| watching(program, *pods))?;
            let column = |value: fn(&MemoryWatching) -> f64| found.iter().map(value).collect::<Vec<f64>>();
            let name = |what: &str| format!("{what}, {pods} Pods");
            let ready = Row::new(name("time to ready"), Unit::Seconds, &column(|it| it.ready))
                .server(found.first().map_or(f64::NAN, |it| it.server / it.client));
            let pages = Row::new(name("requests for the list"), Unit::Count, &column(|it| it.pages));
            let peak = Row::new(name("peak memory with churn"), Unit::Bytes, &column(|it| it.after.peak))
                .limit(idle.peak);
            let (ready, pages, peak) = match *pods {
                100_000 => (
                    ready.goal(Goal::AtMost(3.0)),
                    pages.goal(Goal::AtMost(200.0)),
                    peak.goal(Goal::AtMost(12e6)).goal(Goal::TimesLimit(2.0)),
                ),
                1_000_000 => (ready, pages, peak.goal(Goal::AtMost(64e6))),
                _ => (ready, pages, peak),
            };
            rows.extend([
                ready,
                Row::new(name("CPU until ready"), Unit::Seconds, &column(|it| it.client)),
                pages,
                Row::new(name("settled memory, listed"), Unit::Bytes, &column(|it| it.listed.now))
                    .limit(idle.now),
                peak,
                Row::new(name("settled memory with churn"), Unit::Bytes, &column(|it| it.after.now))
                    .limit(idle.now),
            ]);
        }
        Ok(rows)
    }

    pub fn rest(&self) -> Outcome<Vec<Row>> {
        let lasting = self.options.rest();
        let hour = 3600.0 / lasting.as_secs_f64();
        let found = self.each(|program| {
            let mut server = ServerProcess::start(1000, Encoding::Protobuf)?;
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
        let mut server = ServerProcess::start(PODS, Encoding::Protobuf)?;
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
            let mut server = ServerProcess::start(PODS, Encoding::Protobuf)?;
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

fn quantile(delays: &[Duration], at: f64) -> f64 {
    let mut seconds: Vec<f64> = delays.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = (seconds.len() as f64 * at) as usize;
    seconds.get(index.min(seconds.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// What an idle TLS client needs.
fn idle() -> Outcome<ResidentMemory> {
    let mut server = ServerProcess::start(1, Encoding::Json)?;
    let mut client = server.own_client(&["idle"])?;
    client.answer::<()>()?;
    server.watched(&[Resource::Pods])?;
    sleep(SETTLED);
    client.process.memory()
}

struct MemoryWatching {
    /// Wall time in seconds.
    ready: f64,
    /// CPU seconds until then: the client's, and the API server's.
    client: f64,
    server: f64,
    pages: f64,
    listed: ResidentMemory,
    after: ResidentMemory,
}

/// What a program needs to list so many Pods, and then to take in changes of a fifth of them.
fn watching(program: &Path, pods: usize) -> Outcome<MemoryWatching> {
    let mut server = ServerProcess::start(pods, Encoding::Protobuf)?;
    let before = server.cpu()?;
    let begun = std::time::Instant::now();
    let client = server.client(program)?;
    let ready = begun.elapsed().as_secs_f64();
    let (of_client, of_server) = (client.cpu()?, server.cpu()? - before);
    sleep(SETTLED);
    let listed = client.memory()?;
    let Tally { pages, .. } = server.order(&Order::Tally)?;
    flood(&mut server, Resource::Pods, pods as u64 / 5)?;
    sleep(SETTLED);
    Ok(MemoryWatching {
        ready,
        client: of_client,
        server: of_server,
        pages: f64::from(u32::try_from(pages)?),
        listed,
        after: client.memory()?,
    })
}

pub fn flood(server: &mut ServerProcess, resource: Resource, changes: u64) -> Outcome<()> {
    let was_told: bool = server.order(&Order::Flood { resource, changes, then_kill: true })?;
    if was_told { Ok(()) } else { Err("the kill after the changes was never told of".into()) }
}
