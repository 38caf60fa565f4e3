use std::{io::Write, path::PathBuf};

use figment::value::{Dict, Value as FigmentValue};
use finding::TestFinding;
use serde_json::{Value, json};
use settings::{ConfigLayer, ResolvedKey};
use tempfile::NamedTempFile;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use super::*;
use crate::TestOutcome;

/// A part of each secret here; nothing may show it.
const SECRET: &str = "s3cr3t";

fn settings(values: &Value) -> Result<(Arc<dyn SinkSettings>, Vec<ResolvedKey>), String> {
    let values: Dict = FigmentValue::serialize(values).unwrap().into_dict().unwrap();
    let layers = [ConfigLayer::file(PathBuf::from("x"), values)];
    let read = settings::read(layers, |section| {
        // The program reads it for every sink that has it.
        section.get_or("send_resolved", false, "true or false");
        super::read(section)
    });
    read.map(|(settings, resolved)| (settings.unwrap(), resolved)).map_err(|errors| errors.to_string())
}

fn sink(values: &Value) -> Arc<dyn Sink> {
    let (settings, resolved) = settings(values).unwrap_or_else(|errors| panic!("{errors}"));
    let shown = format!("{settings:?} {resolved:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    settings.build(&SinkContext { kubernetes: None, only_stdout: false }).unwrap()
}

/// What is wrong with a body, in its own words.
fn problem(body: &str) -> String {
    let errors = settings(&json!({"url": "https://example.com", "body": body})).expect_err(body);
    errors.strip_prefix("x: body: ").unwrap_or_else(|| panic!("{errors}")).to_owned()
}

/// Renders a body.
fn rendered(body: &str, finding: &Finding) -> Value {
    let template = BodyTemplate::new(body, 1).unwrap();
    serde_json::from_str(&template.findings(&[finding], &TemplateSecrets::default()).unwrap()).unwrap()
}

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

async fn outcome_of(answer: ResponseTemplate, more: Value) -> AttemptOutcome {
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(answer).mount(&server).await;
    let mut values = json!({"url": format!("{}/{SECRET}/hook?sig={SECRET}", server.uri())});
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let outcomes = sink(&values).deliver(&[Finding::full().into()]).await;
    assert_eq!(outcomes.len(), 1);
    assert!(!format!("{outcomes:?}").contains(SECRET), "{outcomes:?}");
    outcomes.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_request_is_what_the_settings_say() {
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    let token = file("Bearer s3cr3t\n");
    let sink = sink(&json!({
        "url": format!("{}/x", server.uri()),
        "method": "PUT",
        "headers": {"X-Team": "s3cr3t shop"},
        "header_files": {"Authorization": token.path()},
        "body": r#"{"text": {{ "killed: " ~ finding.pod.name }}, "finding": {{ finding }}}"#,
    }));
    assert_eq!(sink.deliver(&[Finding::full().into()]).await, [AttemptOutcome::Delivered]);
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.method.as_str(), "PUT");
    for (name, value) in
        [("content-type", "application/json"), ("x-team", "s3cr3t shop"), ("authorization", "Bearer s3cr3t")]
    {
        assert_eq!(request.headers[name], value);
    }
    let body: Value = request.body_json().unwrap();
    assert_eq!(body, json!({"text": "killed: cart-6c9f7-x2x", "finding": Finding::full()}));
}

#[tokio::test]
async fn without_a_template_findings_are_sent_as_they_are() {
    for (batch, findings) in [(1, 1), (2, 1), (2, 2)] {
        let server = MockServer::start().await;
        Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let sink = sink(&json!({"url": server.uri(), "batch": batch}));
        assert_eq!(sink.limits().batch, batch);
        let outcomes = sink.deliver(&vec![Finding::full().into(); findings]).await;
        assert_eq!(outcomes, vec![AttemptOutcome::Delivered; findings]);
        let body: Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
        let expected =
            if batch == 1 { json!(Finding::full()) } else { json!(vec![Finding::full(); findings]) };
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn each_status_has_its_outcome() {
    for code in [200, 201, 202, 204] {
        assert_eq!(outcome_of(ResponseTemplate::new(code), json!({})).await, AttemptOutcome::Delivered);
    }
    assert_eq!(
        outcome_of(ResponseTemplate::new(409), json!({"accept": [409]})).await,
        AttemptOutcome::Delivered
    );
    for (code, asks, after) in [
        (429, "1.5", Some(Duration::from_millis(1500))),
        (503, "7", Some(Duration::from_secs(7))),
        (408, "", None),
        (500, "", None),
    ] {
        let answer = ResponseTemplate::new(code).insert_header("retry-after", asks);
        let outcome = outcome_of(answer, json!({})).await;
        assert!(
            matches!(&outcome, AttemptOutcome::Retry { after: asked, .. } if *asked == after),
            "{outcome:?}"
        );
    }
    let body = format!("{{\"message\": \"no {SECRET}\",\n\"code\": 50035}}");
    let outcome = outcome_of(ResponseTemplate::new(400).set_body_string(body), json!({})).await;
    assert_eq!(
        outcome,
        AttemptOutcome::Refused {
            reason: "posting to the webhook: 400 Bad Request: {\"message\": \"no ***\", \"code\": 50035}. Check the \
                     body against what the receiver takes"
                .to_owned()
        }
    );
    let moved = ResponseTemplate::new(307).insert_header("location", "http://127.0.0.1:9/");
    for (answer, said) in [
        (moved, "Redirects are not followed"),
        (ResponseTemplate::new(203), "name the status in accept"),
        (ResponseTemplate::new(404), "Check the URL"),
    ] {
        let outcome = outcome_of(answer, json!({})).await;
        assert!(
            matches!(&outcome, AttemptOutcome::Refused { reason } if reason.contains(said)),
            "{outcome:?}"
        );
    }
    let token = file(SECRET);
    for code in [401, 403, 404, 410] {
        let more = json!({"header_files": {"X-Token": token.path()}});
        let outcome = outcome_of(ResponseTemplate::new(code), more).await;
        assert!(matches!(outcome, AttemptOutcome::Retry { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn rotated_secrets_are_read_again() {
    let server = MockServer::start().await;
    Mock::given(matchers::header("x-token", "new"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let (url, token) = (file("http://127.0.0.1:9/"), file("old"));
    let sink = sink(&json!({"url_file": url.path(), "header_files": {"X-Token": token.path()}}));
    let batch = [Finding::full().into()];
    let mut reasons = String::new();
    let mut fails = async || {
        let outcomes = sink.deliver(&batch).await;
        let [AttemptOutcome::Retry { reason, .. }] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        reasons = format!("{reasons}{reason}\n");
    };
    fails().await;
    std::fs::write(url.path(), "ftp://s3cr3t").unwrap();
    fails().await;
    std::fs::write(url.path(), server.uri()).unwrap();
    fails().await;
    std::fs::write(token.path(), "\n").unwrap();
    fails().await;
    std::fs::write(token.path(), "new\n").unwrap();
    assert_eq!(sink.deliver(&batch).await, [AttemptOutcome::Delivered]);
    let reasons: Vec<_> = reasons.lines().collect();
    for (reason, said) in reasons.iter().zip([
        "Check that the webhook can be reached from here",
        "url_file is not an https URL",
        "404 Not Found",
        "header_files.X-Token is empty",
    ]) {
        assert!(reason.contains(said) && !reason.contains(SECRET), "{reason}");
    }
}

#[tokio::test]
async fn a_test_finding_says_that_it_is_one() {
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let test = TestFinding { cluster: None, namespace: "oom".into(), pod: None, sent_at: Timestamp::now() };
    let outcome = sink(&json!({"url": server.uri()})).deliver_test(&test).await;
    assert!(matches!(outcome, TestOutcome::Delivered { .. }));
    let body: Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
    assert_eq!((&body["test"], &body["message"]), (&json!(true), &json!(TestFinding::MESSAGE)));
}

/// Answers 400 to whatever tells of the Pod `bad`.
async fn receiver_that_minds_one_pod() -> MockServer {
    let server = MockServer::start().await;
    let answer = |request: &wiremock::Request| {
        let is_bad = String::from_utf8_lossy(&request.body).contains("\"bad\"");
        ResponseTemplate::new(if is_bad { 400 } else { 204 })
    };
    Mock::given(matchers::any()).respond_with(answer).mount(&server).await;
    server
}

fn named(pod: &str) -> Delivery {
    let mut finding = Finding::full();
    pod.clone_into(&mut finding.pod.name);
    finding.into()
}

#[tokio::test]
async fn a_finding_that_is_refused_costs_others_of_its_batch_nothing() {
    let server = receiver_that_minds_one_pod().await;
    let batch = [named("a"), named("bad"), named("b")];
    let outcomes = sink(&json!({"url": server.uri(), "batch": 5})).deliver(&batch).await;
    assert!(matches!(&outcomes[1], AttemptOutcome::Refused { reason } if reason.contains("400 Bad Request")));
    assert_eq!([&outcomes[0], &outcomes[2]], [&AttemptOutcome::Delivered; 2]);
    assert_eq!(server.received_requests().await.unwrap().len(), 4);

    // So does one that the template can't tell.
    let body = "[{% for it in findings %}{% if it.pod.name == 'long' %}{{ 'x' * 2000000 }},{% endif %}{% endfor %}1]";
    let sink = sink(&json!({"url": server.uri(), "batch": 5, "body": body}));
    let outcomes = sink.deliver(&[named("a"), named("long")]).await;
    assert_eq!(outcomes[0], AttemptOutcome::Delivered);
    assert!(
        matches!(&outcomes[1], AttemptOutcome::Refused { reason } if reason.contains("more than 1048576 bytes"))
    );
}

#[tokio::test]
async fn a_secret_in_the_body_is_sent_and_not_shown() {
    let server = MockServer::start().await;
    let key = file("s3cr3tKey\n");
    let echo = |request: &wiremock::Request| ResponseTemplate::new(400).set_body_bytes(request.body.clone());
    Mock::given(matchers::any()).respond_with(echo).mount(&server).await;
    let body = r#"{"routing_key": {{ secrets.routing_key }}, "all": {{ secrets }}}"#;
    let values = json!({"url": server.uri(), "secret_files": {"routing_key": key.path()}, "body": body});
    let sink = sink(&values);
    let outcomes = sink.deliver(&[Finding::full().into()]).await;
    assert!(format!("{outcomes:?}").contains("***") && !format!("{outcomes:?}").contains(SECRET));
    let sent: Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
    assert_eq!(sent, json!({"routing_key": "s3cr3tKey", "all": {"routing_key": "s3cr3tKey"}}));
    std::fs::write(key.path(), "").unwrap();
    let outcomes = sink.deliver(&[Finding::full().into()]).await;
    assert!(format!("{outcomes:?}").contains("secret_files.routing_key is empty"), "{outcomes:?}");
    assert!(problem("{{ secrets.routing_key }}").contains("a value that doesn't exist"));
}

#[tokio::test]
async fn what_teams_reports_behind_a_success_counts() {
    let report = |status: u16| {
        ResponseTemplate::new(200).set_body_string(format!(
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with \
             ContextId tcid=0"
        ))
    };
    assert!(matches!(outcome_of(report(429), json!({})).await, AttemptOutcome::Retry { .. }));
    let outcome = outcome_of(report(413), json!({})).await;
    assert!(
        matches!(&outcome, AttemptOutcome::Refused { reason } if reason.contains("413 Payload Too Large")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn after_one_that_must_be_told_again_no_further_end_of_an_incident_is_told() {
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(ResponseTemplate::new(503)).mount(&server).await;
    let incidents = vec![ResolvedIncident::full(); 3];
    let outcomes = sink(&json!({"url": server.uri()})).resolve(&incidents).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, AttemptOutcome::Retry { .. })), "{outcomes:?}");
    assert_eq!((outcomes.len(), server.received_requests().await.unwrap().len()), (3, 1));
}

#[test]
fn what_comes_from_the_cluster_stays_text() {
    let name = "\"},{\"x\":\"\\\u{1b}\u{202e}\n{{ 7*7 }}<@everyone>";
    let mut finding = Finding::full();
    finding.pod.name = name.to_owned();
    let body = r#"{"a": {{ finding.pod.name }}, "b": [{% for x in [1, 2] %}{{ x }}{{ "," if not loop.last }}{% endfor %}]}"#;
    // What `else` leaves out is an empty text, and so are its quotes.
    let body = body.replace(r#"{{ "," if not loop.last }}"#, "{% if not loop.last %},{% endif %}");
    assert_eq!(rendered(&body, &finding), json!({"a": name, "b": [1, 2]}));
    let text = "{% set text %}{% autoescape false %}Pod {{ finding.pod.name | markdown }}{% endautoescape %}{% endset %}";
    let body = format!("{text}{{{{ text }}}}");
    let shown = BodyTemplate::new(&body, 1).unwrap().findings(&[&finding], &TemplateSecrets::default());
    assert!(shown.is_err() || serde_json::from_str::<Value>(&shown.unwrap()).is_ok());
}

#[test]
fn what_is_absent_is_null_and_what_is_unknown_an_error() {
    let body = "[{{ finding.cluster }}, {{ finding.pod.node }}, {{ finding.cause }}, {{ resolved }}, {{ finding.test }}, \
                {{ finding.container.memoryLimitBytes | bytes }}, {{ finding.cause.text if finding.cause }}]";
    let body = body.replace("if finding.cause }", "if finding.cause else none }");
    assert_eq!(rendered(&body, &Finding::minimal()), json!([null, null, null, null, null, null, null]));
    let full = json!([
        "prod",
        "n1",
        Finding::full().cause,
        null,
        null,
        "64 MiB",
        Finding::full().cause.unwrap().text
    ]);
    assert_eq!(rendered(&body, &Finding::full()), full);
    for (body, said) in [
        ("{{ finding.clusetr }}", "has at line 1, column 4: a value that doesn't exist"),
        (
            "{\n  \"a\": 1,\n  \"b\": {{ finding.pod.nod }}\n}",
            "has at line 3, column 11: a value that doesn't exist",
        ),
        ("[{% if finding.pod.nod %}1{% endif %}]", "has at line 1, column 15: a value that doesn't exist"),
        ("{{ findings }}", "has at line 1, column 4: a value that doesn't exist"),
        ("{{ finding.cause.text }}", "or a part of one that can be null"),
        ("{{ finding.container.memoryLimitBytes / 2 }}", "has at line 1, column 4: invalid operation"),
        ("{{ finding.pod.name | shout }}", "has at line 1, column 23: unknown filter"),
        ("{{ finding.pod.name", "has at line 1, column "),
        ("{% include 'x' %}", "has at line 1, column 4"),
        ("{\n\"a\": \"in {{ finding.namespace }}\"\n}", "has at line 2, column 13: gives no JSON"),
        ("{\"a\": 1,}", "has at line 1, column 9: gives no JSON: key must be a string"),
        ("hello", "has at line 1, column 1: gives no JSON: expected value"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}1{% endfor %}{% endfor %}",
            "more work, or more text",
        ),
        ("{{ \"x\" * 100000000 }}", "more work, or more text"),
        ("{{ \"x\" * 2000000 }}", "gives more than 1048576 bytes"),
    ] {
        let problem = problem(body);
        assert!(problem.contains(said), "{body}\n{problem}");
    }
}

#[test]
fn a_resolved_message_is_tried_out_where_it_is_sent() {
    let values = |body: &str, batch: usize, resolved: bool| json!({"url": "https://example.com", "body": body, "batch": batch, "send_resolved": resolved});
    let simple = "{{ finding.message }}";
    assert!(settings(&values(simple, 1, false)).is_ok());
    let error = settings(&values(simple, 1, true)).unwrap_err();
    assert!(error.contains("in a resolved message, which has `resolved`"), "{error}");
    assert!(settings(&values("{{ (resolved or finding).message }}", 1, true)).is_ok());
    let list = "[{% for it in findings %}{{ it.message }},{% endfor %} {{ resolved }}]";
    assert!(settings(&values(list, 5, true)).is_ok());
}

#[test]
fn wrong_settings_are_explained_and_no_secret_is_shown() {
    let file = file("not Base64, s3cr3t");
    for (values, said) in [
        (json!({}), "url: is missing; expected url, url_file or $OOM_"),
        (
            json!({"url": "http://example.com/s3cr3t"}),
            "url: would send the findings, and the URL if it is secret,",
        ),
        (json!({"url": "https://x", "url_file": "s3cr3t"}), "only one of url and url_file"),
        (json!({"url": "https://x", "method": "GET"}), "method: is \"GET\"; expected POST, PUT or PATCH"),
        (
            json!({"url": "https://x", "headers": {"a b": SECRET}}),
            "headers: has \"a b\", which is no name of a header",
        ),
        (
            json!({"url": "https://x", "headers": {"a": "s3cr3t\n"}}),
            "which has a value that no header can have",
        ),
        (
            json!({"url": "https://x", "headers": {"Content-Length": SECRET}}),
            "which is set by the connection",
        ),
        (
            json!({"url": "https://x", "headers": {"a": SECRET, "A": SECRET}}),
            "has \"a\", which is given twice",
        ),
        (json!({"url": "https://x", "headers": "s3cr3t"}), "headers: is text, or has what is no text"),
        (
            json!({"url": "https://x", "header_files": {"A": "/nowhere/s3cr3t"}}),
            "header_files: names a file that",
        ),
        (json!({"url": "https://x", "batch": 0}), "batch: is 0; expected a whole number from 1 to 200"),
        (json!({"url": "https://x", "accept": []}), "accept: is empty"),
        (json!({"url": "https://x", "accept": [99]}), "accept: has 99"),
        (
            json!({"url": "https://x", "signing_secret_file": file.path()}),
            "signing_secret_file: holds no Base64",
        ),
    ] {
        let errors = settings(&values).expect_err(&values.to_string());
        assert!(errors.contains(said) && !errors.contains(SECRET), "{errors}");
    }
}

#[test]
fn a_signature_is_that_of_the_standards_own_example() {
    let key = SigningKey::parse(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()).unwrap();
    let headers = key.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
    assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_eq!(headers["webhook-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
    assert_eq!(headers["webhook-timestamp"], "1614265330");
}
