//! How many objects the program takes in a CPU second, in Protobuf and in JSON, beside the limit and each other.

use std::{path::Path, thread::sleep};

use crate::{
    Outcome,
    limits::decode_from_memory,
    objects::Encoding,
    orders::{Order, Resource, Tally},
    parts::{PODS, Run, SETTLED, flood},
    process::{RunningProcess, ServerProcess},
    table::{Goal, Row, Unit, median},
};

/// So many Pods are listed.
const LISTED: usize = 4 * PODS;
/// What is sent: of what, what it is called, how much in a round, and how much more of it there is to be in
/// Protobuf.
const FLOODS: [(Resource, &str, u64, f64); 2] =
    [(Resource::Pods, "Pod changes", 100_000, 4.0), (Resource::Events, "Event changes", 200_000, 3.0)];
/// How many more Pods are to be listed in Protobuf.
const LISTED_RATIO: f64 = 4.0;

/// What is measured of each encoding, in this order.
const ENCODINGS: [Encoding; 2] = [Encoding::Protobuf, Encoding::Json];

/// Rates of the program (and perhaps another) in one encoding, and of what is beside them.
#[derive(Default)]
struct Rates {
    /// Round by round, of each program.
    programs: Vec<Vec<f64>>,
    limit: Vec<f64>,
    in_memory: Vec<f64>,
    /// What the server used, as a part of the first program.
    server: Vec<f64>,
}

pub fn measure(run: &Run<'_>) -> Outcome<Vec<Row>> {
    let mut rows = listing(run)?;
    for (resource, name, changes, ratio) in FLOODS {
        let mut rates = ENCODINGS.map(|_| Rates::of(run));
        let mut floods = Vec::new();
        for encoding in ENCODINGS {
            floods.push(run.each(|program| Flooded::new(program, encoding))?);
        }
        // In turn, so that whatever else the machine does disturbs all of them.
        for _ in 0..run.options.rounds {
            for ((rates, floods), encoding) in rates.iter_mut().zip(&mut floods).zip(ENCODINGS) {
                for (at, flooded) in floods.iter_mut().enumerate() {
                    let (rate, server) = flooded.round(resource, changes)?;
                    rates.programs[at].push(rate);
                    rates.server.extend((at == 0).then_some(server));
                }
                rates.limit.push(reader(resource, encoding, changes)?);
                rates.in_memory.push(decode_from_memory(resource, encoding, changes)?);
            }
        }
        rows.extend(table(&format!("{name} a CPU second"), ratio, &rates));
    }
    Ok(rows)
}

fn listing(run: &Run<'_>) -> Outcome<Vec<Row>> {
    let mut rates = ENCODINGS.map(|_| Rates::of(run));
    for _ in 0..run.options.rounds {
        for (rates, encoding) in rates.iter_mut().zip(ENCODINGS) {
            for (at, program) in run.programs.iter().enumerate() {
                let mut server = ServerProcess::start(LISTED, encoding)?;
                let before = server.cpu()?;
                let client = server.client(program)?;
                let cpu = client.cpu()?;
                spoken(&mut server, encoding, at == 0)?;
                rates.programs[at].push(rate(LISTED as u64, cpu));
                rates.server.extend((at == 0).then_some((server.cpu()? - before) / cpu));
            }
            let server = ServerProcess::start(LISTED, encoding)?;
            let cpu: f64 = server.own_client(&["read", "list", &encoding.to_string(), "0"])?.answer()?;
            rates.limit.push(rate(LISTED as u64, cpu));
        }
    }
    Ok(table("Pods listed a CPU second, start included", LISTED_RATIO, &rates))
}

/// The rows of a figure: each encoding, and how they compare.
fn table(name: &str, ratio: f64, rates: &[Rates; 2]) -> Vec<Row> {
    let mut rows = Vec::new();
    let medians = |rates: &Rates| rates.programs.iter().cloned().map(median).collect::<Vec<f64>>();
    for (rates, encoding) in rates.iter().zip(ENCODINGS) {
        let row = |name: String| Row::new(name, Unit::PerSecond, &medians(rates));
        let name = format!("{name}, {encoding}");
        let beside =
            row(name.clone()).limit(median(rates.limit.clone())).server(median(rates.server.clone()));
        rows.push(beside.goal(Goal::OfLimit(0.8)));
        if !rates.in_memory.is_empty() {
            rows.push(row(format!("{name}, in memory")).limit(median(rates.in_memory.clone())));
        }
    }
    let [protobuf, json] = rates.each_ref().map(medians);
    let ratios: Vec<f64> = protobuf.iter().zip(json).map(|(protobuf, json)| protobuf / json).collect();
    rows.push(Row::new(format!("{name}, protobuf / json"), Unit::Ratio, &ratios).goal(Goal::AtLeast(ratio)));
    rows
}

impl Rates {
    fn of(run: &Run<'_>) -> Self {
        Self { programs: run.programs.iter().map(|_| Vec::new()).collect(), ..Self::default() }
    }
}

/// Fails if the program was answered in another encoding than is measured.
fn spoken(server: &mut ServerProcess, encoding: Encoding, is_ours: bool) -> Outcome<()> {
    let Tally { encoding: spoken, .. } = server.order(&Order::Tally)?;
    if is_ours && spoken != encoding {
        return Err(format!("the program was answered in {spoken} instead of {encoding}").into());
    }
    Ok(())
}

fn rate(count: u64, cpu: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / cpu
}

/// A program that is flooded with changes, round by round.
struct Flooded {
    server: ServerProcess,
    client: RunningProcess,
}

impl Flooded {
    fn new(program: &Path, encoding: Encoding) -> Outcome<Self> {
        let mut server = ServerProcess::start(PODS, encoding)?;
        let client = server.client(program)?;
        sleep(SETTLED);
        Ok(Self { server, client })
    }

    /// The changes a CPU second, and what the server used as a part of the program.
    fn round(&mut self, resource: Resource, changes: u64) -> Outcome<(f64, f64)> {
        let (before, servers) = (self.client.cpu()?, self.server.cpu()?);
        flood(&mut self.server, resource, changes)?;
        let used = self.client.cpu()? - before;
        Ok((rate(changes, used), (self.server.cpu()? - servers) / used))
    }
}

/// How many changes a CPU second a client takes in that only decodes them.
fn reader(resource: Resource, encoding: Encoding, changes: u64) -> Outcome<f64> {
    let mut server = ServerProcess::start(PODS, encoding)?;
    let what = match resource {
        Resource::Pods => "pods",
        Resource::Events => "events",
    };
    let mut reader = server.own_client(&["read", what, &encoding.to_string(), &changes.to_string()])?;
    server.order::<bool>(&Order::Flood { resource, changes, then_kill: false })?;
    Ok(rate(changes, reader.answer()?))
}
