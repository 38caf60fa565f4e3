use kube::Config;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use super::*;
use crate::{LedgerStore, NoteOutcome, OwedSink, OwedSinks};
use finding::{AffectedContainer, AffectedPod, ContainerKind};

fn client_of(url: &str) -> Client {
    let mut config = Config::new(url.parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// What becomes of a finding when the API server answers so.
async fn outcome(answer: ResponseTemplate) -> AttemptOutcome {
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(answer).mount(&server).await;
    let sink = KubernetesSink::new(client_of(&server.uri()));
    let mut outcomes = sink.deliver(&[Delivery::from(Finding::full())]).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn status(code: u16, reason: &str, message: &str, details: &Value) -> ResponseTemplate {
    ResponseTemplate::new(code).set_body_json(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": details, "code": code,
    }))
}

fn retried(outcome: &AttemptOutcome) -> (&str, Option<Duration>) {
    match outcome {
        AttemptOutcome::Retry { reason, after } => (reason, *after),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_event_is_created_as_kubectl_shows_it() {
    let server = MockServer::start().await;
    Mock::given(matchers::method("POST"))
        .and(matchers::path("/api/v1/namespaces/shop/events"))
        .respond_with(ResponseTemplate::new(201).set_body_json(json!({ "kind": "Event" })))
        .expect(1)
        .mount(&server)
        .await;
    let finding = Finding::full();
    let sink = KubernetesSink::new(client_of(&server.uri()));
    assert_eq!(sink.deliver(&[Delivery::from(finding.clone())]).await, [AttemptOutcome::Delivered]);

    let requests = server.received_requests().await.unwrap();
    assert_eq!(
        requests[0].body_json::<Value>().unwrap(),
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": format!("cart-6c9f7-x2x.{}", finding.id.as_str()),
                "namespace": "shop",
                "annotations": { "oom-event-generator/finding": line(&finding) },
            },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": "shop",
                "name": "cart-6c9f7-x2x",
                "uid": "0b6e2f4e-7a6c-4b63-9d0e-3f1d2c1b0a99",
                "fieldPath": "spec.containers{app}",
            },
            "type": "Warning",
            "reason": "PreviousContainerWasOOMKilled",
            "message": "The previous instance of the container 'app' (containerd://a) was OOMKilled",
            "source": { "component": "oom-event-generator" },
            "reportingComponent": "oom-event-generator",
            "count": 1,
            "firstTimestamp": "2026-03-01T12:00:05Z",
            "lastTimestamp": "2026-03-01T12:00:05Z",
        })
    );
}

/// What is asked of the API server, method, content type and body, by what `ask` does with a sink and a ledger.
async fn asked(
    answer: ResponseTemplate,
    ask: impl AsyncFn(KubernetesSink, EventLedger),
) -> Vec<(String, Value)> {
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(answer).mount(&server).await;
    let client = client_of(&server.uri());
    ask(KubernetesSink::new(client.clone()), EventLedger::new(client)).await;
    let requests = server.received_requests().await.unwrap();
    let asked = requests.iter().map(|request| {
        let content = request.headers["content-type"].to_str().unwrap();
        (format!("{} {} {content}", request.method, request.url.path()), request.body_json().unwrap())
    });
    asked.collect()
}

fn owed_to(names: &[&str]) -> OwedSinks {
    OwedSinks::new(names.iter().map(|name| OwedSink { name: (*name).into(), is_prompt: false }).collect())
}

#[tokio::test]
async fn an_event_names_the_sinks_that_still_owe_it_when_it_is_written() {
    let owed = owed_to(&["log", "pager", "team"]);
    owed.settle("log");
    let delivery = Delivery { owed: Some(owed), ..Delivery::from(Finding::full()) };
    let created = ResponseTemplate::new(201).set_body_json(json!({ "kind": "Event" }));
    let asked = asked(created, async |sink, _| {
        sink.deliver(std::slice::from_ref(&delivery)).await;
    });
    let annotations = &asked.await[0].1["metadata"]["annotations"];
    assert_eq!(annotations["oom-event-generator/owed"], "pager,team");
    assert_eq!(annotations["oom-event-generator/finding"], line(&Finding::full()));
}

#[tokio::test]
async fn a_note_is_a_merge_patch_of_the_annotations_alone() {
    let finding = Finding::full();
    let changed = ResponseTemplate::new(200).set_body_json(json!({ "kind": "Event" }));
    let asked = asked(changed, async |_, ledger| {
        assert_eq!(ledger.note(&finding, &["team".into(), "pager".into()], None).await, NoteOutcome::Noted);
        let now = "2026-03-01T12:30:00Z".parse().ok();
        assert_eq!(ledger.note(&finding, &["team".into()], now).await, NoteOutcome::Noted);
        assert_eq!(ledger.note(&finding, &[], None).await, NoteOutcome::Noted);
    });
    let path = format!("/api/v1/namespaces/shop/events/cart-6c9f7-x2x.{}", finding.id.as_str());
    let expected = [
        json!({ "oom-event-generator/owed": "team,pager" }),
        json!({ "oom-event-generator/owed": "team", "oom-event-generator/renewed": "2026-03-01T12:30:00Z" }),
        json!({ "oom-event-generator/owed": null }),
    ]
    .map(|annotations| {
        (
            format!("PATCH {path} application/merge-patch+json"),
            json!({ "metadata": { "annotations": annotations } }),
        )
    });
    assert_eq!(asked.await, expected);
}

#[tokio::test]
async fn a_note_that_is_forbidden_names_the_rule_and_one_whose_event_is_gone_says_so() {
    let message = "events \"x\" is forbidden: User \"system:serviceaccount:monitoring:oom\" cannot patch resource \
                   \"events\" in API group \"\" in the namespace \"shop\"";
    let terminating = json!({ "causes": [{ "reason": "NamespaceTerminating" }] });
    let denied = status(403, "Forbidden", message, &json!({}));
    let noted = async |answer: ResponseTemplate| {
        let server = MockServer::start().await;
        Mock::given(matchers::any()).respond_with(answer).mount(&server).await;
        EventLedger::new(client_of(&server.uri())).note(&Finding::full(), &[], None).await
    };
    let NoteOutcome::Denied { reason } = noted(denied).await else { panic!("it is not denied") };
    let rule = "Grant it to ServiceAccount monitoring/oom: a Role in namespace shop, or a ClusterRole, with the rule \
                apiGroups [\"\"], resources [\"events\"], verbs [\"patch\"]";
    assert!(reason.ends_with(rule), "{reason}");
    assert_eq!(noted(status(404, "NotFound", "no", &json!({}))).await, NoteOutcome::Gone);
    assert_eq!(noted(status(403, "Forbidden", "no", &terminating)).await, NoteOutcome::Gone);
    let busy = noted(status(503, "ServiceUnavailable", "no", &json!({}))).await;
    assert!(matches!(busy, NoteOutcome::Retry { .. }), "{busy:?}");
}

#[test]
fn an_event_about_a_mirror_pod_carries_the_static_pods_uid() {
    let full = Finding::full();
    let finding = Finding { pod: AffectedPod { event_uid: "b16c5e6a".into(), ..full.pod }, ..full };
    assert_eq!(event(&finding).involved_object.uid.as_deref(), Some("b16c5e6a"));
}

#[test]
fn an_event_about_a_sidecar_points_into_the_init_containers() {
    let full = Finding::full();
    let container =
        AffectedContainer { kind: ContainerKind::Sidecar, name: "proxy".into(), ..full.container };
    let finding = Finding { container, ..full };
    assert_eq!(event(&finding).involved_object.field_path.as_deref(), Some("spec.initContainers{proxy}"));
}

#[tokio::test]
async fn what_exists_is_a_duplicate() {
    let answer = status(409, "AlreadyExists", "events \"x\" already exists", &json!({ "name": "x" }));
    assert_eq!(outcome(answer).await, AttemptOutcome::Duplicate);
}

#[tokio::test]
async fn a_conflict_over_a_quota_is_retried() {
    let message = "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified";
    retried(&outcome(status(409, "Conflict", message, &json!({}))).await);
}

#[tokio::test]
async fn a_missing_rule_is_named_with_whom_to_grant_it() {
    let message = "events is forbidden: User \"system:serviceaccount:monitoring:oom\" cannot create resource \
                   \"events\" in API group \"\" in the namespace \"shop\"";
    let outcome = outcome(status(403, "Forbidden", message, &json!({ "kind": "events" }))).await;
    insta::assert_snapshot!(retried(&outcome).0, @r#"creating an Event in namespace shop: 403 Forbidden: events is forbidden: User "system:serviceaccount:monitoring:oom" cannot create resource "events" in API group "" in the namespace "shop". Grant it to ServiceAccount monitoring/oom: a Role in namespace shop, or a ClusterRole, with the rule apiGroups [""], resources ["events"], verbs ["create"]"#);
}

#[tokio::test]
async fn what_a_quota_or_webhook_forbids_is_retried_without_naming_a_rule() {
    let message = "admission webhook \"deny.example\" denied the request:\nno Events here";
    let outcome = outcome(status(403, "Forbidden", message, &json!({}))).await;
    insta::assert_snapshot!(retried(&outcome).0, @r#"creating an Event in namespace shop: 403 Forbidden: admission webhook "deny.example" denied the request: no Events here. Let the webhook, policy or quota that forbids it make an exception for this program's Events"#);
}

#[tokio::test]
async fn what_a_webhook_or_policy_denies_under_another_code_is_retried_as_well() {
    for (code, reason, message) in [
        (400, "", "admission webhook \"deny.example\" denied the request without explanation"),
        (418, "", "admission webhook \"deny.example\" denied the request: no"),
        (
            422,
            "Invalid",
            "events \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
        ),
    ] {
        let outcome = outcome(status(code, reason, message, &json!({}))).await;
        let (said, _) = retried(&outcome);
        assert!(said.contains("Let the webhook, policy or quota"), "{said}");
    }
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_is_gone() {
    let causes = json!({ "causes": [{ "reason": "NamespaceTerminating", "field": "metadata.namespace" }] });
    let outcome = outcome(status(403, "Forbidden", "unable to create new content", &causes)).await;
    assert_eq!(outcome, AttemptOutcome::Gone { reason: "namespace shop is being deleted".into() });
}

#[tokio::test]
async fn a_namespace_that_is_deleted_is_gone() {
    let outcome = outcome(status(404, "NotFound", "namespaces \"shop\" not found", &json!({}))).await;
    assert_eq!(outcome, AttemptOutcome::Gone { reason: "namespace shop is gone".into() });
}

#[tokio::test]
async fn credentials_that_are_not_accepted_are_said_and_retried() {
    let outcome = outcome(status(401, "Unauthorized", "Unauthorized", &json!({}))).await;
    assert!(retried(&outcome).0.contains("check the service account's token"), "{outcome:?}");
}

#[tokio::test]
async fn an_overloaded_server_is_left_alone_as_long_as_it_asks() {
    let throttled = ResponseTemplate::new(429).insert_header("retry-after", "7");
    let throttled = outcome(throttled.set_body_string("Too many requests, please try again later.\n")).await;
    assert_eq!(
        retried(&throttled),
        (
            "creating an Event in namespace shop: 429 Too Many Requests: Too many requests, please try again \
             later.",
            Some(Duration::from_secs(7))
        )
    );
    let timed_out = status(504, "Timeout", "request did not complete", &json!({ "retryAfterSeconds": 3 }));
    assert_eq!(retried(&outcome(timed_out).await).1, Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn server_errors_are_retried_whatever_their_body() {
    for code in [408, 500, 502, 503, 504] {
        for body in ["", "{}", "<html>", "null"] {
            let outcome = outcome(ResponseTemplate::new(code).set_body_string(body)).await;
            assert_eq!(retried(&outcome).1, None);
        }
    }
}

#[tokio::test]
async fn what_can_never_succeed_is_refused() {
    for code in [302, 400, 405, 413, 422] {
        let outcome = outcome(status(code, "", "metadata.name: Invalid value", &json!({}))).await;
        let AttemptOutcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("metadata.name: Invalid value"), "{reason}");
    }
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_retried() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = KubernetesSink::new(client_of(&format!("http://{free}")));
    let outcomes = sink.deliver(&[Delivery::from(Finding::full())]).await;
    let (reason, after) = retried(&outcomes[0]);
    assert!(reason.contains("Connection refused"), "{reason}");
    assert_eq!(after, None);
}

/// Answers one request with this code and a body without end. Returns how much of it was taken.
async fn endless(listener: TcpListener, code: u16) -> usize {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = [0; 4096];
    assert!(stream.read(&mut request).await.unwrap() > 0);
    let head = format!("HTTP/1.1 {code} Code\r\ncontent-length: 1000000000000\r\n\r\n");
    let mut written = 0;
    let mut bytes = head.into_bytes();
    while stream.write_all(&bytes).await.is_ok() {
        written += bytes.len();
        bytes = vec![b'x'; 64 * 1024];
    }
    written
}

#[tokio::test]
async fn an_answer_without_end_is_read_up_to_a_bound() {
    for code in [201, 403, 409, 500] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = KubernetesSink::new(client_of(&format!("http://{}", listener.local_addr().unwrap())));
        let server = tokio::spawn(endless(listener, code));
        let outcomes = sink.deliver(&[Delivery::from(Finding::full())]).await;
        match code {
            201 => assert_eq!(outcomes, [AttemptOutcome::Delivered]),
            _ => assert!(matches!(outcomes[..], [AttemptOutcome::Retry { .. }]), "{outcomes:?}"),
        }
        // What the kernel buffers comes on top.
        let taken = tokio::time::timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
        assert!(taken < 16 << 20, "{taken} bytes of a {code}");
    }
}
