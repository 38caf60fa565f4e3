//! Whatever others send, the program goes on: decoders, filter, recordings, watches and the HTTP endpoint are given
//! real input with random changes. The seeds are the recordings in `tests/recordings`.
//!
//! Each test takes 15 seconds; `FUZZ_SECONDS=3600` lets it take an hour. `FUZZ_SEED=7` repeats one case alone.

mod mutation;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use ::cluster::{Refusal, protobuf::WireMessage};
use fastrand::Rng;
use jiff::Timestamp;
use kubernetes_oom_event_generator::{
    filter::{Conclusion, Filter},
    source::{
        Observation, Scope,
        objects::{Event, Pod},
        recording,
    },
};
use mutation::{mutate, mutate_message, spoil};
use serde_json::{Value, json};
use support::{
    api_server::ApiServer, behaviour::Behaviour, program::Program, protobuf, sockets::FakeCluster,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use untrusted::is_deceptive;

use crate::{
    filter::case::settings,
    source::{Watching, restarted},
};

/// No finding may be longer as JSON: names have bounds, and a few numbers come with them.
const MAX_FINDING_BYTES: usize = 16 * 1024;

/// Goes through seeds until the time is over.
fn seeds() -> impl Iterator<Item = u64> {
    let number = |name| env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
    let one = number("FUZZ_SEED");
    let until = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(15));
    let first = one.unwrap_or_else(|| fastrand::u64(..));
    (0..)
        .map(move |step| first.wrapping_add(step))
        .take_while(move |seed| one.map_or_else(|| Instant::now() < until, |one| *seed == one))
}

/// Tries each seed, and tells the one that fails.
fn fuzz(try_one: impl Fn(&mut Rng)) {
    for seed in seeds() {
        let tried = catch_unwind(AssertUnwindSafe(|| try_one(&mut Rng::with_seed(seed))));
        assert!(tried.is_ok(), "repeat it with FUZZ_SEED={seed}");
    }
}

fn recordings() -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/recordings", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let recordings = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    recordings.map(|path| fs::read(path).unwrap()).collect()
}

/// The objects of the recordings.
fn objects() -> Vec<Value> {
    let recordings = recordings().concat();
    let lines = str::from_utf8(&recordings).unwrap().lines().map(|line| serde_json::from_str(line).unwrap());
    lines.map(|mut line: Value| line["object"].take()).collect()
}

/// Returns the kind of an object of a recording.
fn kind_of(object: &Value) -> &'static str {
    if object.get("spec").is_some() || object.get("status").is_some() { "Pod" } else { "Event" }
}

/// Returns one of these answers in Protobuf with changes in its depth.
fn mutate_answer(rng: &mut Rng, answers: &[Vec<u8>]) -> Vec<u8> {
    let answer = &answers[rng.usize(..answers.len())];
    match answer.split_first_chunk::<4>() {
        // A frame has its length before it.
        Some(([0, ..], message)) => protobuf::framed(&mutate_message(rng, message, answers)),
        _ => mutate_message(rng, answer, answers),
    }
}

/// Shows it to a filter, and looks at what comes out.
fn show(filter: &mut Filter, observation: Observation) {
    for conclusion in filter.observe(observation, Some(Timestamp::UNIX_EPOCH)) {
        let Conclusion::Finding(finding) = conclusion else { continue };
        assert!(serde_json::to_string(&finding).unwrap().len() < MAX_FINDING_BYTES);
        assert!(!finding.message.contains(is_deceptive), "{:?}", finding.message);
    }
}

#[test]
fn recordings_are_read_whatever_stands_in_them() {
    let recordings = recordings();
    fuzz(|rng| {
        let text = mutate(rng, &recordings);
        let mut filter = Filter::new(settings());
        for recorded in recording::read(text.as_slice()) {
            match recorded {
                Ok((observation, _)) => show(&mut filter, observation),
                Err(error) => assert!(error.to_string().len() < 4_096, "{error}"),
            }
        }
        filter.finish();
    });
}

#[test]
fn an_odd_value_never_costs_more_than_itself() {
    let objects = objects();
    let identity = ["/metadata", "/metadata/name", "/metadata/namespace", "/metadata/uid"];
    fuzz(|rng| {
        let mut filter = Filter::new(settings());
        for _ in 0..20 {
            let mut object = objects[rng.usize(..objects.len())].clone();
            for _ in 0..rng.usize(1..=4) {
                spoil(rng, &mut object, &identity);
            }
            let text = object.to_string();
            if kind_of(&object) == "Pod" {
                let pod: Box<Pod> =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                show(&mut filter, Observation::Changed(Scope::WHOLE, pod));
            } else {
                let event: Event =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                event
                    .into_started()
                    .into_iter()
                    .for_each(|start| show(&mut filter, Observation::Started(start)));
            }
        }
        filter.finish();
    });
}

#[test]
fn protobuf_is_read_whatever_stands_in_it() {
    let objects: Vec<_> = objects().iter().map(|object| protobuf::object(kind_of(object), object)).collect();
    fuzz(|rng| {
        let mut filter = Filter::new(settings());
        for _ in 0..20 {
            let object = &objects[rng.usize(..objects.len())];
            let object = mutate_message(rng, object, &objects);
            if let Ok(pod) = Pod::decode(&object) {
                show(&mut filter, Observation::Changed(Scope::WHOLE, Box::new(pod)));
            }
            if let Some(started) = Event::decode(&object).ok().and_then(Event::into_started) {
                show(&mut filter, Observation::Started(started));
            }
            Refusal::of_protobuf(&object);
        }
        filter.finish();
    });
}

#[test]
fn a_watch_recovers_from_whatever_an_api_server_answers() {
    let pod = restarted("cart", 1);
    let page = json!({"kind": "PodList", "metadata": {"resourceVersion": "1000", "continue": "1000/a"}, "items": [pod]});
    let words = ["ADDED", "DELETED", "BOOKMARK", "ERROR"].map(|word| json!({"type": word, "object": pod}));
    let refusal = support::api_server::status(503, "ServiceUnavailable", "no");
    let whole = [page.to_string(), refusal.to_string()];
    let lines = words.each_ref().map(|word| word.to_string() + "\n");
    let json: Vec<_> = whole.into_iter().chain(lines).map(String::into_bytes).collect();
    let whole = [protobuf::enveloped("PodList", &page), protobuf::enveloped("Status", &refusal)];
    let frames = words.each_ref().map(|word| protobuf::frame("Pod", word).unwrap());
    let protobuf: Vec<_> = whole.into_iter().chain(frames).collect();
    fuzz(|rng| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let server = ApiServer::new();
            for _ in 0..rng.usize(1..=8) {
                let code = [200, 200, 200, 403, 410, 500][rng.usize(..6)];
                let behaviour = match rng.u8(..3) {
                    0 => Behaviour::says(code, String::from_utf8_lossy(&mutate(rng, &json)).into_owned()),
                    1 => Behaviour::says_in_protobuf(code, mutate(rng, &protobuf)),
                    _ => Behaviour::says_in_protobuf(code, mutate_answer(rng, &protobuf)),
                };
                let skipped = rng.usize(0..6);
                let mut seen = 0;
                server.script(move |_| {
                    seen += 1;
                    (seen == skipped + 1).then(|| behaviour.clone())
                });
            }
            Watching::begin(&server).await.recovers().await;
        });
    });
}

#[tokio::test]
async fn the_endpoint_answers_others_whatever_somebody_sends() {
    let cluster = FakeCluster::new();
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({}));
    let program: Program = cluster.program().await;
    let requests = [
        "GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "HEAD /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
        "POST /readyz HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        "PUT /x HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\nabcde",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let requests: Vec<Vec<u8>> = requests.iter().map(|request| request.as_bytes().to_vec()).collect();
    for seed in seeds() {
        let mut rng = Rng::with_seed(seed);
        let request = mutate(&mut rng, &requests);
        let mut stream = TcpStream::connect(program.address().unwrap()).await.unwrap();
        // The program may close the connection at any time.
        if stream.write_all(&request).await.is_ok() {
            let mut beginning = [0; 64];
            let read = stream.read(&mut beginning);
            timeout(Duration::from_millis(5), read).await.map(drop).unwrap_or_default();
        }
        drop(stream);
        let answer = program.get("/healthz").await.unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "FUZZ_SEED={seed}: {answer}\n{}", program.stderr());
    }
    assert_eq!(program.stop().await, Some(0));
}
