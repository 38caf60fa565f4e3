//! `cargo bench`: what decoding and judging cost, each by itself, in time. Times are for comparing two
//! builds on one machine; `cargo measure --only instructions` counts what doesn't depend on it.
#![allow(clippy::unwrap_used, missing_docs, reason = "it can't go on otherwise")]

#[path = "measure/src/objects.rs"]
#[allow(dead_code, reason = "the measuring command uses more of it")]
mod objects;
#[path = "measure/src/shapes.rs"]
mod shapes;

use divan::{Bencher, counter::BytesCount};
use jiff::Timestamp;
use kubernetes_oom_event_generator::{
    config::Config,
    filter::Filter,
    pipeline,
    source::{
        Observation, Scope,
        objects::{Event, Pod},
    },
};
use objects::{Container, Moment, Sight, Spelling};
use serde::Deserialize;

/// Pods to a page, as the program asks for them.
const PAGE: u64 = 50;

#[derive(Deserialize)]
struct ListBody {
    items: Vec<Pod>,
}

fn main() {
    divan::main();
}

fn pod(number: u64, sight: Sight) -> Vec<u8> {
    let mut spelled = Vec::new();
    let container = Container { restarts: 1, sight };
    Spelling::new().pod(
        &mut spelled,
        &objects::SpelledPod { number, container, version: 1 },
        &Moment::now(),
        true,
    );
    spelled
}

/// By the shape of the Pod.
#[divan::bench(args = [0, 1, 2, 3])]
fn a_pod(bencher: Bencher<'_, '_>, number: u64) {
    let spelled = pod(number, Sight::Running);
    let decode = || serde_json::from_str::<Box<Pod>>(str::from_utf8(&spelled).unwrap()).unwrap();
    bencher.counter(BytesCount::of_slice(&spelled)).bench(decode);
}

#[divan::bench]
fn an_event(bencher: Bencher<'_, '_>) {
    let mut spelled = Vec::new();
    let pod = objects::SpelledPod { number: 1, container: Container::default(), version: 1 };
    Spelling::new().started(&mut spelled, &pod, &Moment::now());
    let decode = || serde_json::from_str::<Event>(str::from_utf8(&spelled).unwrap()).unwrap();
    bencher.counter(BytesCount::of_slice(&spelled)).bench(decode);
}

#[divan::bench]
fn a_page(bencher: Bencher<'_, '_>) {
    let pods: Vec<_> = (0..PAGE).map(|number| pod(number, Sight::Running)).collect();
    let page = [br#"{"items":["#.to_vec(), pods.join(&b','), b"]}".to_vec()].concat();
    let decode = || serde_json::from_str::<ListBody>(str::from_utf8(&page).unwrap()).unwrap().items;
    bencher.counter(BytesCount::of_slice(&page)).bench(decode);
}

/// By what a change shows of a Pod that the filter knows.
#[divan::bench(args = [Sight::Running, Sight::Killed, Sight::Restarted])]
fn the_filter(bencher: Bencher<'_, '_>, sight: Sight) {
    let config = Config::load(None, &[], []).map(|loaded| loaded.config);
    let settings = pipeline::settings(&config.unwrap_or_else(|_| panic!("the defaults hold")));
    let observation = |sight| {
        let pod = serde_json::from_slice(&pod(0, sight)).unwrap();
        Observation::Changed(Scope::WHOLE, pod)
    };
    let (first, then) = (observation(Sight::Running), observation(sight));
    let known = || {
        let mut filter = Filter::new(settings.clone());
        filter.observe(first.clone(), None);
        (filter, then.clone(), Timestamp::now())
    };
    bencher.with_inputs(known).bench_values(|(mut filter, then, now)| {
        let verdicts = filter.observe(then, Some(now));
        (filter, verdicts)
    });
}
