//! The presets in `examples/webhook`: what they send is within the limits that the receivers publish, whatever the
//! names, and fakes that answer as the receivers do get every finding.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use finding::{Finding, KillId};
use kubernetes_oom_event_generator::{
    config::Config,
    fanout::{Drained, Fanout, Route},
    leadership::Leadership,
    metrics::Metrics,
};
use serde_json::{Value, json};
use sinks::{AttemptOutcome, Delivery, Grouping, Sink, SinkContext};
use support::{log, tools::file};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

const PRESETS: [&str; 6] = ["discord", "google-chat", "mattermost", "pagerduty", "rocket-chat", "teams"];

/// The secret part of each URL, or the key.
const SECRET: &str = "s3cr3tT0ken";

const FINDINGS: usize = 1000;

fn path(name: &str) -> PathBuf {
    file(&format!("examples/webhook/{name}.yaml"))
}

/// What a receiver answers to what it takes.
fn taken(name: &str) -> ResponseTemplate {
    match name {
        "discord" => ResponseTemplate::new(204),
        "google-chat" => ResponseTemplate::new(200).set_body_json(json!({"name": "spaces/A/messages/B"})),
        "mattermost" => ResponseTemplate::new(200).set_body_string("ok"),
        "rocket-chat" => ResponseTemplate::new(200).set_body_json(json!({"success": true})),
        "pagerduty" => ResponseTemplate::new(202)
            .set_body_json(json!({"status": "success", "message": "Event processed", "dedup_key": "x"})),
        _ => ResponseTemplate::new(202),
    }
}

/// What a receiver answers when it is busy.
fn busy(name: &str) -> ResponseTemplate {
    match name {
        "discord" => ResponseTemplate::new(429)
            .insert_header("retry-after", "0.05")
            .set_body_json(json!({"message": "You are being rate limited.", "retry_after": 0.05, "global": false})),
        "google-chat" => ResponseTemplate::new(429)
            .set_body_json(json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}})),
        "pagerduty" => ResponseTemplate::new(429).set_body_json(json!({"status": "throttle exceeded"})),
        "teams" => ResponseTemplate::new(200).set_body_string(
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x",
        ),
        "mattermost" => ResponseTemplate::new(503),
        _ => ResponseTemplate::new(429).insert_header("retry-after", "1"),
    }
}

/// The receiver of a preset.
struct Receiver {
    server: MockServer,
    sink: Arc<dyn Sink>,
    /// What it has taken.
    taken: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// One that is busy for every fifth request, and refuses those without its secret.
    async fn start(name: &'static str) -> Self {
        let server = MockServer::start().await;
        let (requests, all_taken) = (AtomicUsize::new(0), Arc::<Mutex<Vec<String>>>::default());
        let memory = Arc::clone(&all_taken);
        let answer = move |request: &Request| {
            let body: Value = request.body_json().unwrap();
            let knows_it = if name == "pagerduty" {
                body["routing_key"] == SECRET
            } else {
                request.url.path().ends_with(SECRET)
            };
            if !knows_it {
                return ResponseTemplate::new(400);
            }
            if requests.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
                return busy(name);
            }
            memory.lock().unwrap().push(body.to_string().replace('\\', ""));
            taken(name)
        };
        Mock::given(matchers::method("POST")).respond_with(answer).mount(&server).await;
        let sink = sink(name, &format!("{}/{SECRET}", server.uri()));
        Self { server, sink, taken: all_taken }
    }
}

/// The sink of a preset, which posts to this URL.
fn sink(name: &str, url: &str) -> Arc<dyn Sink> {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, if name == "pagerduty" { SECRET } else { url }).unwrap();
    let text = fs::read_to_string(path(name)).unwrap();
    let text = text
        .replace(&format!("/etc/oom/secrets/{name}"), &secret.display().to_string())
        .replace("https://events.pagerduty.com/v2/enqueue", url);
    let config = directory.path().join("config.yaml");
    fs::write(&config, text).unwrap();
    let loaded = Config::load(Some(&config), &[], []).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert!(!format!("{:?}", loaded.config).contains(SECRET));
    let sink = loaded.config.sinks.into_iter().find(|sink| sink.name == name).unwrap();
    // The files are read again for each request.
    std::mem::forget(directory);
    sink.settings.build(&SinkContext { kubernetes: None, only_stdout: false }).unwrap()
}

/// A kill of its own.
fn kill(number: usize) -> Finding {
    let mut finding = Finding { id: KillId::new(&[&number.to_string()]), ..Finding::full() };
    finding.pod.name = format!("cart-{number}x");
    finding
}

/// A kill whose names are as long as they can be, and mean something to every receiver.
fn hostile() -> Finding {
    let text = "</at>@everyone @channel <!channel> <users/all> **x** [x](http://x) `x` \"},{\"\\ \u{202e}\u{1b}[31m\n";
    let long = format!("{text}{}", "é".repeat(300));
    let mut finding = Finding::full();
    finding.cluster = Some(long.clone());
    finding.namespace.clone_from(&long);
    finding.container.name.clone_from(&long);
    finding.pod.name.clone_from(&long);
    finding.pod.workload.name.clone_from(&long);
    finding.pod.workload.kind.clone_from(&long);
    finding.message = long.repeat(20);
    for text in [&mut finding.cause.as_mut().unwrap().text, &mut finding.advice.as_mut().unwrap().text] {
        *text = long.repeat(5);
    }
    finding
}

fn characters(value: &Value) -> usize {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).chars().count()
}

/// Asserts that a body is what its receiver takes: the limits are those of the receiver's own documentation.
fn is_within_limits(name: &str, body: &Value, bytes: usize) {
    match name {
        "discord" => {
            let embeds = body["embeds"].as_array().unwrap();
            assert!((1..=10).contains(&embeds.len()));
            assert!(embeds.iter().all(|it| characters(&it["title"]) <= 256));
            assert!(embeds.iter().all(|it| (1..=4096).contains(&characters(&it["description"]))));
            let all = |it: &Value| characters(&it["title"]) + characters(&it["description"]);
            assert!(embeds.iter().map(all).sum::<usize>() <= 6000);
            assert_eq!(body["allowed_mentions"], json!({"parse": []}));
        }
        "google-chat" => {
            assert!(characters(&body["text"]) <= 4096 && bytes <= 32_000);
            // `<users/all>` would call everybody, `<url|text>` would be a link.
            assert!(!body["text"].as_str().unwrap().contains('<'));
        }
        "mattermost" | "rocket-chat" => {
            assert!(characters(&body["text"]) <= if name == "mattermost" { 16_383 } else { 5_000 });
            for call in ["@channel", "@everyone", "@all"] {
                assert!(!body["text"].as_str().unwrap().contains(call), "{body}");
            }
        }
        "pagerduty" => {
            assert!(bytes <= 512_000 && (1..=255).contains(&characters(&body["dedup_key"])));
            let payload = &body["payload"];
            assert!(
                (1..=1024).contains(&characters(&payload["summary"])) && characters(&payload["source"]) > 0
            );
            assert!(
                ["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap())
            );
            assert_eq!(body["event_action"], "trigger");
        }
        "teams" => {
            assert!(bytes <= 28_000, "{bytes}");
            let card = &body["attachments"][0]["content"];
            assert_eq!((&body["type"], &card["type"]), (&json!("message"), &json!("AdaptiveCard")));
            let blocks = card["body"].as_array().unwrap();
            assert!(
                blocks.iter().all(|block| block["type"] == "TextBlock" && characters(&block["text"]) > 0)
            );
        }
        other => panic!("no limits of {other} are known"),
    }
}

#[tokio::test]
async fn one_kill_a_dozen_and_hostile_names_are_within_the_receivers_limits() {
    for name in PRESETS {
        let Receiver { server, sink, .. } = Receiver::start(name).await;
        let batch = sink.limits().batch;
        for findings in [
            vec![Finding::full()],
            vec![Finding::minimal()],
            (0..12).map(kill).collect(),
            vec![hostile(); 12],
        ] {
            for findings in findings.chunks(batch) {
                let deliveries: Vec<Delivery> = findings.iter().cloned().map(Delivery::from).collect();
                // A busy receiver has the body, too.
                sink.deliver(&deliveries).await;
            }
        }
        let requests = server.received_requests().await.unwrap();
        assert!(requests.len() > 3, "{name}");
        for request in requests {
            assert_eq!(request.headers["content-type"], "application/json");
            is_within_limits(name, &request.body_json().unwrap(), request.body.len());
        }
    }
}

#[tokio::test]
async fn a_thousand_findings_have_one_outcome_each_and_no_secret_is_shown() {
    log::begin();
    let metrics = Arc::new(Metrics::new());
    let (mut receivers, mut routes) = (Vec::new(), Vec::new());
    for name in PRESETS {
        let receiver = Receiver::start(name).await;
        routes.push(Route {
            name: name.to_owned(),
            sink: Arc::clone(&receiver.sink),
            matches: Box::new(|_| true),
            grouping: Grouping::NONE,
            retry_for: Duration::from_hours(1),
            queue_capacity: 4096,
            remembers: false,
            paces_lists: false,
            send_resolved: false,
        });
        receivers.push((name, receiver));
    }
    let fanout = Fanout::start(routes, Arc::clone(&metrics), &Leadership::alone());
    for number in 0..FINDINGS {
        fanout.send(kill(number));
    }
    let drained = fanout.drain(Duration::from_mins(5), CancellationToken::new()).await;
    assert_eq!(drained, Drained { undelivered: 0, handed_over: 0 });
    for (name, receiver) in receivers {
        let figures = metrics.figures(name);
        assert_eq!((figures.delivered, figures.failed, figures.waiting), (FINDINGS as u64, 0, 0), "{name}");
        let taken = receiver.taken.lock().unwrap();
        for number in 0..FINDINGS {
            let pod = format!("cart-{number}x");
            let told = taken.iter().filter(|body| body.contains(&pod)).count();
            assert_eq!(told, 1, "how often {name} is told of {pod}");
        }
    }
    // That they are busy is in the log.
    assert!(!log::logged(&["429 Too Many Requests"]).is_empty());
    assert_eq!(log::logged(&[SECRET]), [""; 0]);
    assert!(!metrics.render(Instant::now()).contains(SECRET));
}

#[tokio::test]
async fn the_kills_of_a_container_and_their_end_are_one_incident_of_pagerduty() {
    let Receiver { server, sink, .. } = Receiver::start("pagerduty").await;
    sink.deliver(&[kill(1).into()]).await;
    sink.deliver(&[kill(2).into()]).await;
    sink.resolve(&[finding::ResolvedIncident::full()]).await;
    let requests = server.received_requests().await.unwrap();
    let bodies: Vec<Value> = requests.iter().map(|request| request.body_json().unwrap()).collect();
    assert_eq!(
        bodies.iter().map(|body| body["event_action"].clone()).collect::<Vec<_>>(),
        ["trigger", "trigger", "resolve"]
    );
    assert!(bodies.iter().all(|body| body["dedup_key"] == "oom/prod/shop/app/Deployment/cart"), "{bodies:?}");
}

#[tokio::test]
async fn each_preset_tells_that_an_incident_is_over() {
    for name in PRESETS {
        let Receiver { server, sink, .. } = Receiver::start(name).await;
        assert_eq!(
            sink.resolve(&[finding::ResolvedIncident::minimal()]).await,
            [AttemptOutcome::Delivered],
            "{name}"
        );
        let body = String::from_utf8(server.received_requests().await.unwrap()[0].body.clone()).unwrap();
        assert!(body.contains("has not been OOMKilled for an hour"), "{body}");
    }
}

#[test]
fn the_chart_has_the_same_presets() {
    for name in PRESETS {
        let chart = file(&format!("helm/kubernetes-oom-event-generator/files/webhook/{name}.yaml"));
        assert_eq!(fs::read_to_string(path(name)).unwrap(), fs::read_to_string(chart).unwrap(), "{name}");
    }
    assert_eq!(fs::read_dir(file("examples/webhook")).unwrap().count(), PRESETS.len());
    let readme = fs::read_to_string(file("README.md")).unwrap();
    assert!(
        readme.contains(&fs::read_to_string(path("teams")).unwrap()),
        "the README shows another one of Teams"
    );
}
