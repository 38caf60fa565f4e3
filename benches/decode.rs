//! `cargo bench`: what decoding and judging cost, each by itself, in time. Times are for comparing two
//! builds on one machine; `cargo measure --only instructions` counts what doesn't depend on it.
#![allow(clippy::unwrap_used, missing_docs, reason = "it can't go on otherwise")]

#[path = "measure/src/objects.rs"]
#[allow(dead_code, reason = "the measuring command uses more of it")]
mod objects;
#[path = "measure/src/shapes.rs"]
mod shapes;

use ::cluster::protobuf::{WireFields, WireMessage};
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
use objects::{Container, Encoding, Moment, Place, Sight, Spelling};
use serde::de::DeserializeOwned;

fn main() {
    divan::main();
}

const ENCODINGS: [Encoding; 2] = [Encoding::Protobuf, Encoding::Json];

/// A Pod as it stands in a list, in Protobuf without the head of its field.
fn pod(encoding: Encoding, number: u64, sight: Sight) -> Vec<u8> {
    let mut spelled = Vec::new();
    let container = Container { restarts: 1, sight };
    let pod = objects::SpelledPod { number, container, version: 1 };
    Spelling::new(encoding).pod(&mut spelled, &pod, &Moment::now(), Place::Listed);
    without_head(encoding, spelled)
}

fn without_head(encoding: Encoding, spelled: Vec<u8>) -> Vec<u8> {
    match encoding {
        Encoding::Json => spelled,
        Encoding::Protobuf => {
            let field = WireFields(&spelled).next_field().unwrap();
            field.map(|(_, value)| value.bytes().to_vec()).unwrap_or_default()
        }
    }
}

fn decode<T: DeserializeOwned + WireMessage>(encoding: Encoding, bytes: &[u8]) -> T {
    match encoding {
        Encoding::Json => serde_json::from_str(str::from_utf8(bytes).unwrap()).unwrap(),
        Encoding::Protobuf => T::decode(bytes).unwrap(),
    }
}

/// By the shape of the Pod.
#[divan::bench(args = ENCODINGS.into_iter().flat_map(|encoding| [0, 1, 2, 3].map(|number| Given(encoding, number))))]
fn a_pod(bencher: Bencher<'_, '_>, Given(encoding, number): Given) {
    let spelled = pod(encoding, number, Sight::Running);
    bencher.counter(BytesCount::of_slice(&spelled)).bench(|| decode::<Box<Pod>>(encoding, &spelled));
}

/// An encoding, and the number of a Pod.
#[derive(Clone, Copy, Debug)]
struct Given(Encoding, u64);

#[divan::bench(args = ENCODINGS)]
fn an_event(bencher: Bencher<'_, '_>, encoding: Encoding) {
    let mut spelled = Vec::new();
    let pod = objects::SpelledPod { number: 1, container: Container::default(), version: 1 };
    Spelling::new(encoding).started(&mut spelled, &pod, &Moment::now(), Place::Listed);
    let spelled = without_head(encoding, spelled);
    bencher.counter(BytesCount::of_slice(&spelled)).bench(|| decode::<Event>(encoding, &spelled));
}

/// By what a change shows of a Pod that the filter knows.
#[divan::bench(args = [Sight::Running, Sight::Killed, Sight::Restarted])]
fn the_filter(bencher: Bencher<'_, '_>, sight: Sight) {
    let config = Config::load(None, &[], []).map(|loaded| loaded.config);
    let settings = pipeline::settings(&config.unwrap_or_else(|_| panic!("the defaults hold")));
    let observation = |sight| {
        let pod = decode(Encoding::Json, &pod(Encoding::Json, 0, sight));
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
