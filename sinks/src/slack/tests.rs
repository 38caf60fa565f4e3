use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

use super::*;
use finding::Finding;

/// Stands for the secret in these tests; nothing may show it.
const PATH: &str = "/services/T00/B00/s3cr3t";

fn slack_at(url: &str) -> SlackSink {
    // The program does this at its start; here every test does, and the first one succeeds.
    let webhook = SlackWebhook::new(SecretSource::Value(url.into()), REQUEST_TIMEOUT).unwrap();
    SlackSink { webhook, link: None, pace: Duration::ZERO, next: tokio::sync::Mutex::new(Instant::now()) }
}

fn shared(findings: impl IntoIterator<Item = Finding>) -> Vec<Delivery> {
    findings.into_iter().map(Delivery::from).collect()
}

/// The outcomes of a batch where Slack answers so.
async fn outcomes(answer: ResponseTemplate, batch: &[Delivery]) -> Vec<AttemptOutcome> {
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(answer).mount(&server).await;
    slack_at(&format!("{}{PATH}", server.uri())).deliver(batch).await
}

async fn outcome(answer: ResponseTemplate) -> AttemptOutcome {
    let mut outcomes = outcomes(answer, &shared([Finding::full()])).await;
    assert_eq!(outcomes.len(), 1);
    let shown = format!("{outcomes:?}");
    assert!(!shown.contains("s3cr3t") && !shown.contains("services"), "{shown}");
    outcomes.remove(0)
}

#[tokio::test]
async fn one_kill_is_one_message() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string("ok");
    Mock::given(matchers::method("POST")).and(matchers::path(PATH)).respond_with(answer).mount(&server).await;
    let slack = slack_at(&format!("{}{PATH}", server.uri()));
    assert_eq!(slack.deliver(&shared([Finding::full()])).await, [AttemptOutcome::Delivered]);

    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 1);
    let agent = requests[0].headers["user-agent"].to_str().unwrap();
    assert_eq!(agent, format!("kubernetes-oom-event-generator/{}", env!("CARGO_PKG_VERSION")));
    let body: Value = requests[0].body_json().unwrap();
    assert!(body["text"].as_str().unwrap().starts_with("OOM kill of app in Deployment cart"), "{body}");
}

#[tokio::test]
async fn a_busy_slack_is_left_alone_as_long_as_it_asks() {
    let answer =
        ResponseTemplate::new(429).insert_header("retry-after", "30").set_body_string("rate_limited");
    let reason = "posting to Slack: 429 Too Many Requests, rate_limited".into();
    assert_eq!(outcome(answer).await, AttemptOutcome::Retry { reason, after: Some(Duration::from_secs(30)) });
}

/// What an answer means whose body breaks off after its head.
async fn broken_off(head: &str) -> AttemptOutcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 20\r\n\r\nroll");
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request breaks off");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let (slack, batch) = (slack_at(&url), shared([Finding::full()]));
    let (mut outcomes, ()) = tokio::join!(slack.deliver(&batch), server);
    outcomes.remove(0)
}

#[tokio::test]
async fn a_busy_slack_whose_answer_breaks_off_is_left_alone_as_long_as_it_asks() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let outcome = broken_off(&format!("{status}\r\nretry-after: 30")).await;
        let reason = format!("posting to Slack: {status}, a body that is not Slack's");
        assert_eq!(outcome, AttemptOutcome::Retry { reason, after: Some(Duration::from_secs(30)) });
    }
    let outcome = broken_off("200 OK").await;
    assert!(matches!(outcome, AttemptOutcome::Retry { after: None, .. }), "{outcome:?}");
    let outcome = broken_off("404 Not Found").await;
    assert!(matches!(outcome, AttemptOutcome::Refused { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_proxy_may_ask_to_be_left_alone_until_a_date() {
    let after = async |value: &str| {
        let answer = ResponseTemplate::new(503).insert_header("retry-after", value);
        match outcome(answer).await {
            AttemptOutcome::Retry { after, .. } => after,
            outcome => panic!("{outcome:?}"),
        }
    };
    let soon = (jiff::Timestamp::now() + Duration::from_hours(1)).strftime("%a, %d %b %Y %H:%M:%S GMT");
    let asked = after(&soon.to_string()).await.unwrap();
    assert!((Duration::from_mins(50)..=Duration::from_hours(1)).contains(&asked), "{asked:?}");
    assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT").await, Some(Duration::ZERO));
    assert_eq!(after("18446744073709551615").await, Some(Duration::from_secs(u64::MAX)));
    for nonsense in ["18446744073709551616", "-1", "soon", ""] {
        assert_eq!(after(nonsense).await, None, "{nonsense}");
    }
}

#[tokio::test]
async fn what_is_late_and_server_errors_are_retried() {
    for code in [408, 425, 500, 502, 503, 504] {
        let outcome = outcome(ResponseTemplate::new(code).set_body_string("rollup_error")).await;
        assert!(matches!(outcome, AttemptOutcome::Retry { after: None, .. }), "{outcome:?}");
    }
}

/// A proxy's login page, or another chat's webhook that takes messages and answers in its own way: tried
/// again, it would take the same message again and again.
#[tokio::test]
async fn a_success_that_is_not_slacks_is_refused() {
    for body in ["<!doctype html><title>Log in</title>", r#"{"success":true}"#, "accepted", ""] {
        for code in [200, 201, 204] {
            let outcome = outcome(ResponseTemplate::new(code).set_body_string(body)).await;
            let AttemptOutcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
            assert!(reason.contains("whether a proxy answered instead of Slack"), "{reason}");
        }
    }
}

#[tokio::test]
async fn what_slack_refuses_is_refused_with_a_remedy() {
    for (code, word, remedy) in [
        (400, "invalid_payload", "report this as a bug"),
        (400, "invalid_blocks", "report this as a bug"),
        (403, "action_prohibited", "administrator"),
        (404, "no_service", "create a new one"),
        (404, "channel_not_found", "create a webhook for another one"),
        (410, "channel_is_archived", "Restore the channel"),
        (418, "teapot", "Check the URL"),
    ] {
        let outcome = outcome(ResponseTemplate::new(code).set_body_string(word)).await;
        let AttemptOutcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains(&format!("{code}")) && reason.contains(word), "{reason}");
        assert!(reason.contains(remedy), "{reason}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_slacks_is_not_shown() {
    for body in [format!("denied: {PATH}"), "word ".repeat(100_000), String::new(), "ok\n<script>".into()] {
        for code in [200, 403, 500] {
            let outcome = outcome(ResponseTemplate::new(code).set_body_string(&body)).await;
            let (AttemptOutcome::Refused { reason } | AttemptOutcome::Retry { reason, .. }) = outcome else {
                panic!("{outcome:?}")
            };
            assert!(reason.contains("a body that is not Slack's") && reason.len() < 250, "{reason}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = MockServer::start().await;
    let moved = ResponseTemplate::new(308).insert_header("location", "/elsewhere");
    Mock::given(matchers::path(PATH)).respond_with(moved).expect(1).mount(&server).await;
    Mock::given(matchers::path("/elsewhere"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&server)
        .await;
    let outcomes = slack_at(&format!("{}{PATH}", server.uri())).deliver(&shared([Finding::full()])).await;
    let [AttemptOutcome::Refused { reason }] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!(reason.contains("Redirects are not followed"), "{reason}");
}

#[tokio::test]
async fn no_answer_is_retried_and_shows_no_url() {
    let silent = MockServer::start().await;
    let late = ResponseTemplate::new(200).set_delay(Duration::from_mins(10));
    Mock::given(matchers::any()).respond_with(late).mount(&silent).await;
    let silent = format!("{}{PATH}", silent.uri());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let absent = format!("http://{free}{PATH}");
    for (url, said) in [(silent, "operation timed out"), (absent, "Connection refused")] {
        let mut slack = slack_at(&url);
        slack.webhook =
            SlackWebhook::new(SecretSource::Value(url.as_str().into()), Duration::from_millis(100)).unwrap();
        let outcomes = slack.deliver(&shared([Finding::full()])).await;
        let [AttemptOutcome::Retry { reason, after: None }] = outcomes.as_slice() else {
            panic!("{outcomes:?}")
        };
        assert!(reason.contains(said), "{reason}");
        assert!(!reason.contains("s3cr3t") && !reason.contains("services"), "{reason}");
    }
}

/// A batch that needs several messages, in the order in which it is told.
fn several() -> Vec<Delivery> {
    shared((100..250).map(|kill| {
        let mut finding = Finding::full();
        finding.pod.workload.name = format!("cart-{kill}");
        finding
    }))
}

/// The places in the batch that each message tells of.
fn messages(batch: &[Delivery]) -> Vec<Vec<usize>> {
    let messages =
        message::compose(batch, &MessageSetting { now: Instant::now(), time: Timestamp::now(), link: None });
    messages.iter().map(|message| message.findings().collect()).collect()
}

#[tokio::test]
async fn a_refused_message_says_nothing_about_the_others() {
    let server = MockServer::start().await;
    let bad = |request: &Request| String::from_utf8_lossy(&request.body).contains("`cart-170`");
    let refused = ResponseTemplate::new(400).set_body_string("invalid_blocks");
    Mock::given(bad).respond_with(refused).with_priority(1).expect(2).mount(&server).await;
    let answer = ResponseTemplate::new(200).set_body_string("ok");
    Mock::given(matchers::any()).respond_with(answer).mount(&server).await;
    let batch = several();
    let outcomes = slack_at(&format!("{}{PATH}", server.uri())).deliver(&batch).await;
    let with_it = messages(&batch).into_iter().find(|places| places.contains(&70)).unwrap();
    assert!(with_it.len() < 100);
    for (place, outcome) in outcomes.into_iter().enumerate() {
        if with_it.contains(&place) {
            let AttemptOutcome::Refused { reason } = outcome else { panic!("{place}: {outcome:?}") };
            assert!(reason.contains("invalid_blocks"), "{reason}");
        } else {
            assert_eq!(outcome, AttemptOutcome::Delivered, "{place}");
        }
    }
}

#[tokio::test]
async fn what_slack_can_t_read_is_told_without_blocks() {
    for word in webhook::UNREADABLE_ANSWERS {
        let server = MockServer::start().await;
        let has_blocks = |request: &Request| request.body_json::<Value>().unwrap().get("blocks").is_some();
        let refused = ResponseTemplate::new(400).set_body_string(word);
        Mock::given(has_blocks).respond_with(refused).with_priority(1).expect(1).mount(&server).await;
        let answer = ResponseTemplate::new(200).set_body_string("ok");
        Mock::given(matchers::any()).respond_with(answer).expect(1).mount(&server).await;
        let slack = slack_at(&format!("{}{PATH}", server.uri()));
        assert_eq!(slack.deliver(&shared([Finding::full()])).await, [AttemptOutcome::Delivered]);
        let plain: Value = server.received_requests().await.unwrap()[1].body_json().unwrap();
        assert!(
            plain["text"].as_str().unwrap().contains("• `cart-6c9f7-x2x` on node `n1`: killed"),
            "{plain}"
        );
    }
}

#[tokio::test]
async fn after_a_message_to_retry_the_others_are_not_sent() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string("ok");
    Mock::given(matchers::any()).respond_with(answer).up_to_n_times(1).mount(&server).await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "1");
    Mock::given(matchers::any()).respond_with(busy).expect(1).mount(&server).await;
    let batch = several();
    let outcomes = slack_at(&format!("{}{PATH}", server.uri())).deliver(&batch).await;
    let messages = messages(&batch);
    assert!(messages.len() > 2);
    for (place, outcome) in outcomes.into_iter().enumerate() {
        if messages[0].contains(&place) {
            assert_eq!(outcome, AttemptOutcome::Delivered, "{place}");
        } else {
            assert!(matches!(outcome, AttemptOutcome::Retry { after: Some(_), .. }), "{place}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn messages_keep_their_distance_over_calls_too() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string("ok");
    Mock::given(matchers::any()).respond_with(answer).mount(&server).await;
    let pace = Duration::from_millis(50);
    let slack = SlackSink { pace, ..slack_at(&format!("{}{PATH}", server.uri())) };
    let begun = Instant::now();
    let batch = several();
    slack.deliver(&batch).await;
    slack.deliver(&shared([Finding::full()])).await;
    let requests = server.received_requests().await.unwrap().len();
    assert_eq!(requests, messages(&batch).len() + 1);
    assert!(begun.elapsed() >= pace * u32::try_from(requests - 1).unwrap());
}

#[test]
fn the_url_of_a_workflow_is_no_incoming_webhook() {
    for url in [
        "https://hooks.slack.com/services/T0/B0/s3cr3t",
        "https://hooks.slack-gov.com/services/T0/B0/s3cr3t",
        "http://mattermost.chat.svc:8065/hooks/s3cr3t",
    ] {
        assert!(webhook::parse_url(url).is_ok(), "{url}");
    }
    for url in
        ["https://hooks.slack.com/workflows/T0/A0/s3cr3t", "https://hooks.slack.com/triggers/E0/s3cr3t"]
    {
        let problem = webhook::parse_url(url).unwrap_err();
        assert!(problem.contains("Slack workflow") && !problem.contains("s3cr3t"), "{problem}");
    }
}

#[tokio::test]
async fn a_rotated_url_is_read_again_and_until_then_nothing_is_given_up() {
    let server = MockServer::start().await;
    let gone = ResponseTemplate::new(404).set_body_string("no_service");
    Mock::given(matchers::path("/old")).respond_with(gone).mount(&server).await;
    let answer = ResponseTemplate::new(200).set_body_string("ok");
    Mock::given(matchers::path("/new")).respond_with(answer).mount(&server).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: &str| std::fs::write(file.path(), text).unwrap();
    let mut slack = slack_at(&server.uri());
    slack.webhook = SlackWebhook::new(SecretSource::File(file.path().into()), REQUEST_TIMEOUT).unwrap();
    let batch = shared([Finding::full()]);
    for (url, said) in [
        (format!("{}/old", server.uri()), "no_service"),
        (String::new(), "webhook_url_file is empty"),
        ("http://example.com/s3cr3t".to_owned(), "webhook_url_file would send the findings"),
        (
            "https://hooks.slack.com/workflows/s3cr3t".to_owned(),
            "webhook_url_file is the URL of a Slack workflow",
        ),
    ] {
        write(&url);
        let outcomes = slack.deliver(&batch).await;
        let [AttemptOutcome::Retry { reason, .. }] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert!(reason.contains(said) && !reason.contains("s3cr3t"), "{reason}");
    }
    write(&format!("{}/new\n", server.uri()));
    assert_eq!(slack.deliver(&batch).await, [AttemptOutcome::Delivered]);
}

#[test]
fn debug_shows_no_url() {
    let url = SecretSource::Value(format!("https://hooks.slack.com{PATH}").as_str().into());
    let shown = format!("{:?}", SlackSettings { url, is_readable_by_others: false, link: None });
    assert!(!shown.contains("s3cr3t") && !shown.contains("slack.com"), "{shown}");
}
