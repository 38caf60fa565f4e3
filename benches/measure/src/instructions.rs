//! How many instructions the program takes for an object, by callgrind: a figure that other work on the
//! machine doesn't change, so it can be compared with the one that was accepted last.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    Outcome,
    objects::Encoding,
    orders::{Order, Resource},
    parts::Run,
    process::ServerProcess,
    table::{Goal, Row, Unit},
};

/// What was accepted.
const ACCEPTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");
/// How much more than that it may be.
const TOLERANCE: f64 = 1.05;
/// So many of each.
const COUNT: u32 = 10_000;

/// The instructions for a Pod that is listed, a Pod that changes, and an Event, in either encoding.
pub fn count(run: &Run<'_>) -> Outcome<Vec<Row>> {
    let program = run.programs.first().ok_or("there is no program")?;
    let mut found = BTreeMap::new();
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let count = |pods, then| instructions(program, encoding, pods, then);
        let few = count(1000, None)?;
        let many = count(1000 + COUNT, None)?;
        let pods = count(1000, Some(Resource::Pods))?;
        let events = count(1000, Some(Resource::Events))?;
        found
            .extend([("Pod listed", many), ("Pod changed", pods), ("Event", events)].map(|(name, all)| {
                (format!("{name}, {encoding}"), ((all - few) / f64::from(COUNT)).round())
            }));
    }
    if run.options.accept {
        fs::write(ACCEPTED, serde_json::to_string_pretty(&found)? + "\n")?;
    }
    let accepted: BTreeMap<String, f64> = serde_json::from_str(&fs::read_to_string(ACCEPTED)?)?;
    let row = |(name, count): (String, f64)| {
        let row = Row::new(format!("instructions: {name}"), Unit::Count, &[count]);
        match accepted.get(&name) {
            Some(accepted) => row.accepted(*accepted).goal(Goal::TimesLimit(TOLERANCE)),
            None => row,
        }
    };
    Ok(found.into_iter().map(row).collect())
}

/// All that the program takes to list so many Pods, and then perhaps [`COUNT`] changes.
fn instructions(program: &Path, encoding: Encoding, pods: u32, then: Option<Resource>) -> Outcome<f64> {
    let mut server = ServerProcess::start(usize::try_from(pods)?, encoding)?;
    let client = server.under_callgrind(program)?;
    let changes = if then.is_some() { COUNT.into() } else { 0 };
    let order = Order::Flood { resource: then.unwrap_or(Resource::Pods), changes, then_kill: true };
    if !server.order::<bool>(&order)? {
        return Err("the kill after the changes was never told of".into());
    }
    let said = client.stop()?;
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.ok_or_else(|| format!("callgrind counted nothing. It said:\n{said}").into())
}
