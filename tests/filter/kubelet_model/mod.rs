//! A kubelet whose truth is known, played to the filter: every kill whose evidence was delivered is
//! found, none twice, none that did not happen, and nothing is remembered of Pods that are gone.
//!
//! A run is a cluster of its own, made from a seed. `KUBELET_MODEL_RUNS=10000` plays that many,
//! `KUBELET_MODEL_SEED=7` that one alone, and tells it. Of the runs that fail, the shortest is told.

mod cluster;
mod container;
mod evidence;
mod judge;
mod kubelet;
mod program;
mod status;

use std::{collections::BTreeMap, env, thread};

use fastrand::Rng;

use program::ModelProgram;

const RUNS: u64 = 2_000;

#[test]
fn every_kill_is_found_once_and_none_is_made_up() {
    let number = |name| env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
    let seeds = match number("KUBELET_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KUBELET_MODEL_RUNS").unwrap_or(RUNS),
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<(u64, FailedRun)> = thread::scope(|scope| {
        let share = |worker| {
            let seeds = seeds.clone().skip(worker).step_by(workers);
            move || seeds.filter_map(|seed| Some((seed, play(seed, false).err()?))).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..workers).map(|worker| scope.spawn(share(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a run panicked")).collect()
    });
    let mut shortest: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for (seed, failure) in &failures {
        let this = (failure.observations, *seed);
        let kind = failure.wrong.split(':').next().unwrap_or_default();
        shortest.entry(kind).and_modify(|other| *other = this.min(*other)).or_insert(this);
    }
    if let Some((_, seed)) = shortest.values().min() {
        let FailedRun { told, wrong, .. } = play(*seed, true).expect_err("it failed before");
        let kinds: Vec<_> = shortest.iter().map(|(kind, (_, seed))| format!("{seed}: {kind}")).collect();
        let (count, kinds) = (failures.len(), kinds.join("\n"));
        panic!(
            "{told}{wrong}\n{count} runs failed; of each kind, KUBELET_MODEL_SEED of the shortest:\n{kinds}"
        );
    }
}

/// How a run failed.
struct FailedRun {
    observations: usize,
    /// What happened until then, if that was asked for.
    told: String,
    /// What was wrong, in a few words; after a colon, with what.
    wrong: String,
}

/// Plays one cluster's life.
fn play(seed: u64, tells: bool) -> Result<(), FailedRun> {
    let mut rng = Rng::with_seed(seed);
    let mut program = ModelProgram::new(&mut rng, tells);
    let steps = rng.usize(5..150);
    let played = (0..steps).try_for_each(|_| program.step(&mut rng)).and_then(|()| program.end(&mut rng));
    played.map_err(|wrong| program.failure(wrong))
}
