use std::{net::SocketAddr, path::PathBuf};

use figment::value::{Dict, Value as FigmentValue};
use finding::Finding;
use serde_json::{Value, json};
use settings::ConfigLayer;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

use super::*;

fn settings(values: &Value) -> Result<Arc<dyn SinkSettings>, String> {
    let values: Dict = FigmentValue::serialize(values).unwrap().into_dict().unwrap();
    let read = settings::read([ConfigLayer::file(PathBuf::from("x"), values)], super::read);
    read.map(|(settings, _)| settings.unwrap()).map_err(|errors| errors.to_string())
}

fn sink(urls: &[String], resend_interval: Duration) -> AlertmanagerSink {
    let settings = AlertmanagerSettings {
        urls: urls.iter().map(|url| ReplicaUrl::parse(url).unwrap()).collect(),
        resolve_after: Duration::from_hours(1),
        sends_resolved: false,
        labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
    };
    AlertmanagerSink::new(&settings, resend_interval).unwrap()
}

async fn server(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(matchers::path("/api/v2/alerts")).respond_with(answer).mount(&server).await;
    server
}

async fn bodies(server: &MockServer) -> Vec<Value> {
    server.received_requests().await.unwrap().iter().map(|request| request.body_json().unwrap()).collect()
}

fn named(name: &str) -> Delivery {
    let mut finding = Finding::full();
    finding.pod.workload.name = name.to_owned();
    finding.into()
}

const NEVER: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_kill_is_an_alert_as_the_charts_rule_would_make_it() {
    let server = server(ResponseTemplate::new(200)).await;
    let before = Timestamp::now();
    let outcomes = sink(&[server.uri()], NEVER).deliver(&[Finding::full().into()]).await;
    assert_eq!(outcomes, [AttemptOutcome::Delivered]);
    let [Value::Array(alerts)] = &bodies(&server).await[..] else { panic!("one list") };
    let [alert] = &alerts[..] else { panic!("one alert") };
    assert_eq!(
        alert["labels"],
        json!({
            "alertname": "ContainerOOMKilled", "severity": "warning", "cluster": "prod", "namespace": "shop",
            "workload_kind": "Deployment", "workload": "cart", "container": "app", "team": "shop",
        })
    );
    let annotations = &alert["annotations"];
    assert_eq!(annotations["summary"], "app of shop/cart was OOM-killed");
    let description = annotations["description"].as_str().unwrap();
    assert!(description.contains(". Why: it reached its own memory limit of 64 MiB. Try: "), "{description}");
    assert_eq!((&annotations["pod"], &annotations["node"]), (&json!("cart-6c9f7-x2x"), &json!("n1")));
    assert_eq!(annotations["finding_id"], Finding::full().id.as_str());
    assert_eq!(alert["startsAt"], "2026-03-01T11:20:02Z");
    let ends: Timestamp = alert["endsAt"].as_str().unwrap().parse().unwrap();
    assert!(ends >= before + Duration::from_hours(1), "{ends}");
}

#[tokio::test]
async fn the_kills_of_one_container_are_one_alert() {
    let server = server(ResponseTemplate::new(200)).await;
    let batch = [named("cart"), named("cart"), named("search")];
    assert_eq!(sink(&[server.uri()], NEVER).deliver(&batch).await, vec![AttemptOutcome::Delivered; 3]);
    assert_eq!(bodies(&server).await[0].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn one_replica_that_takes_it_suffices_and_all_are_told() {
    let (good, bad) = (server(ResponseTemplate::new(200)).await, server(ResponseTemplate::new(500)).await);
    let gone = "http://127.0.0.1:9".to_owned();
    let outcomes = sink(&[gone.clone(), bad.uri(), good.uri()], NEVER).deliver(&[named("cart")]).await;
    assert_eq!(outcomes, [AttemptOutcome::Delivered]);
    assert_eq!((bodies(&good).await.len(), bodies(&bad).await.len()), (1, 1));
    let outcomes = sink(&[gone, bad.uri()], NEVER).deliver(&[named("cart")]).await;
    assert!(matches!(outcomes.as_slice(), [AttemptOutcome::Retry { .. }]), "{outcomes:?}");
}

#[tokio::test]
async fn what_a_400_says_of_a_batch_is_found_out_alert_by_alert() {
    let server = MockServer::start().await;
    let bad = |request: &Request| String::from_utf8_lossy(&request.body).contains("bad");
    let refused = ResponseTemplate::new(400).set_body_string("\"invalid label set\"\n");
    Mock::given(bad).respond_with(refused).with_priority(1).mount(&server).await;
    Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let outcomes =
        sink(&[server.uri()], NEVER).deliver(&[named("cart"), named("bad"), named("search")]).await;
    let [AttemptOutcome::Delivered, AttemptOutcome::Refused { reason }, AttemptOutcome::Delivered] =
        &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert!(reason.ends_with("400 Bad Request: \"invalid label set\""), "{reason}");
}

#[tokio::test]
async fn a_name_with_several_addresses_is_several_replicas() {
    // Both addresses of this machine, at the same port.
    let Ok(six) = std::net::TcpListener::bind("[::1]:0") else { return };
    let address = SocketAddr::from(([127, 0, 0, 1], six.local_addr().unwrap().port()));
    let Ok(four) = std::net::TcpListener::bind(address) else { return };
    let mut servers = Vec::new();
    for listener in [six, four] {
        let server = MockServer::builder().listener(listener).start().await;
        Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        servers.push(server);
    }
    let known = tokio::net::lookup_host(("localhost", address.port())).await.unwrap().count();
    let url = format!("http://localhost:{}", address.port());
    assert_eq!(sink(&[url], NEVER).deliver(&[named("cart")]).await, [AttemptOutcome::Delivered]);
    let told = bodies(&servers[0]).await.len() + bodies(&servers[1]).await.len();
    assert_eq!(told, known.min(2));
}

#[tokio::test]
async fn what_has_not_ended_is_sent_again_and_what_is_resolved_is_not() {
    let server = server(ResponseTemplate::new(200)).await;
    let sink = sink(&[server.uri()], Duration::from_millis(50));
    sink.deliver(&[named("cart")]).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while bodies(&server).await.len() < 3 {
        assert!(tokio::time::Instant::now() < deadline, "it is sent again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let sent = bodies(&server).await;
    assert_eq!(sent[0], sent[2]);
    assert_eq!(sink.resolve(&[ResolvedIncident::full()]).await, [AttemptOutcome::Delivered]);
    let count = bodies(&server).await.len();
    let ended = &bodies(&server).await[count - 1][0];
    let ends: Timestamp = ended["endsAt"].as_str().unwrap().parse().unwrap();
    assert!(ends <= Timestamp::now() && ended["labels"] == sent[0][0]["labels"], "{ended}");
    assert!(sink.shared.active(|active| active.at(Timestamp::UNIX_EPOCH)).is_empty());
}

#[tokio::test]
async fn what_an_earlier_run_sent_is_sent_again_until_it_ends() {
    let server = server(ResponseTemplate::new(200)).await;
    let sink = sink(&[server.uri()], Duration::from_millis(50));
    let minutes_ago = |minutes| Some(Timestamp::now() - Duration::from_mins(minutes));
    let mut over = Finding { detected_at: minutes_ago(70), ..Finding::full() };
    over.pod.workload.name = "search".to_owned();
    sink.remember(&over);
    let last = Finding { detected_at: minutes_ago(20), ..Finding::full() };
    sink.remember(&last);
    sink.remember(&Finding { detected_at: minutes_ago(30), ..Finding::full() });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while bodies(&server).await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "it is sent");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let Value::Array(alerts) = &bodies(&server).await[0] else { panic!("a list") };
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let ends: Timestamp = alerts[0]["endsAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(ends, last.detected_at.unwrap() + Duration::from_hours(1));
    sink.stand_by();
    assert!(sink.shared.active(|active| active.at(Timestamp::UNIX_EPOCH)).is_empty());
}

#[tokio::test]
async fn a_test_names_the_replica_that_did_not_take_it() {
    let good = server(ResponseTemplate::new(200)).await;
    let test = TestFinding { cluster: None, namespace: "oom".into(), pod: None, sent_at: Timestamp::now() };
    let sink = sink(&[good.uri(), "http://127.0.0.1:9".to_owned()], NEVER);
    let TestOutcome::Delivered { place } = sink.deliver_test(&test).await else { panic!("one took it") };
    assert!(place.contains("; but posting to Alertmanager at 127.0.0.1:9: "), "{place}");
}

#[tokio::test]
async fn a_name_without_an_address_is_said() {
    let outcomes =
        sink(&["http://alertmanager.invalid.svc:9093".to_owned()], NEVER).deliver(&[named("cart")]).await;
    let [AttemptOutcome::Retry { reason, .. }] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!(
        reason.starts_with("finding the addresses of Alertmanager at alertmanager.invalid.svc: "),
        "{reason}"
    );
}

#[test]
fn a_path_before_the_api_is_kept() {
    for (url, whole) in [
        ("http://am:9093", "http://am:9093/api/v2/alerts"),
        ("http://am:9093/", "http://am:9093/api/v2/alerts"),
        ("http://am:9093/alertmanager/", "http://am:9093/alertmanager/api/v2/alerts"),
        ("http://am:9093/api/v2/alerts", "http://am:9093/api/v2/alerts"),
    ] {
        assert_eq!(ReplicaUrl::parse(url).unwrap().url.expose().as_str(), whole);
    }
}

#[test]
fn wrong_settings_are_explained() {
    let url = "http://alertmanager:9093";
    assert!(settings(&json!({"urls": [url]})).is_ok());
    for (values, said) in [
        (json!({}), "urls: is missing; expected a list of the URLs of all replicas"),
        (json!({"urls": []}), "urls: is empty"),
        (json!({"urls": url}), "urls: is a URL; expected a list"),
        (json!({"urls": ["ftp://example.com"]}), "urls: has one that is not an http or https URL"),
        (
            json!({"urls": ["http://me:s3cr3t@alertmanager"]}),
            "urls: has one that has a user, a password or a query",
        ),
        (json!({"urls": [url], "resolve_after": "0s"}), "resolve_after: is 0s"),
        (json!({"urls": [url], "labels": {"a-b": "x"}}), "labels: has \"a-b\"; expected names of a-z"),
        (json!({"urls": [url], "labels": {"a": 5}}), "labels: is a map; expected names with texts"),
    ] {
        let errors = settings(&values).expect_err(&values.to_string());
        assert!(errors.contains(said) && !errors.contains("s3cr3t"), "{errors}");
    }
}
