//! `check` and `check --send` for each sink that posts to a receiver: what is wrong with the configuration, and what a
//! receiver that is well, unwell or elsewhere is told to be, with what to do. No secret is in anything of it.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use support::{behaviour::Behaviour, slack::Slack, sockets::Authority};
use tempfile::TempDir;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

use super::check::{Checked, SECRET, check};

/// A secret to sign with.
const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What `check` says of these sinks, and the files that they name.
struct Checking(TempDir);

impl Checking {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// A file with this secret.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    async fn check(&self, arguments: &[&str], sinks: Value) -> Checked {
        let config = self.file("config.yaml", &json!({"sinks": sinks}).to_string());
        let arguments = [arguments, &["-c", config.to_str().unwrap()]].concat();
        let checked = check(&self.0.path().join("none"), &arguments, &[]).await;
        for secret in [SIGNING_SECRET, "MfKQ9r8GKYqr"] {
            assert!(!format!("{}{}", checked.stdout, checked.stderr).contains(secret), "{}", checked.stdout);
        }
        checked
    }
}

/// Answers with the status that is the last part of the path, whatever stands before it, and repeats all secrets.
async fn receiver() -> MockServer {
    let server = MockServer::start().await;
    let answer = |request: &Request| {
        let path = request.url.path().trim_end_matches("/api/v2/alerts");
        let authorization = request.headers.get("authorization").map(|it| it.to_str().unwrap().to_owned());
        let said = json!({"error": format!("denied: {path} {}", authorization.unwrap_or_default())});
        match path.rsplit('/').next().unwrap() {
            "hangs" => ResponseTemplate::new(200).set_delay(Duration::from_mins(2)),
            "slack" => ResponseTemplate::new(200).set_body_string("ok"),
            "busy" => ResponseTemplate::new(429).insert_header("retry-after", "1.5").set_body_json(said),
            "moved" => ResponseTemplate::new(308).insert_header("location", format!("/{SECRET}/200")),
            status => ResponseTemplate::new(status.parse::<u16>().unwrap()).set_body_json(said),
        }
    };
    Mock::given(matchers::method("POST")).respond_with(answer).mount(&server).await;
    server
}

/// A sink of each type that posts to this URL; the one of Alertmanager is no secret.
fn of_each_type(files: &Checking, name: &str, url: &str) -> Vec<(String, Value)> {
    let file = files.file(&format!("{name}-url"), &format!("{url}\n"));
    vec![
        (format!("{name}-webhook"), json!({"type": "webhook", "url": url})),
        (format!("{name}-slack"), json!({"type": "slack", "webhook_url_file": file})),
        (
            format!("{name}-alertmanager"),
            json!({"type": "alertmanager", "urls": [url.replace(SECRET, "am")]}),
        ),
    ]
}

#[tokio::test]
async fn what_receivers_answer_is_told_with_what_to_do() {
    let (files, server, authority) = (Checking::new(), receiver().await, Authority::new());
    let encrypted = Slack::listen_as(Some(authority.certify()), |_| Behaviour::good()).await;
    let at = |what: &str| format!("{}/{SECRET}/{what}", server.uri());
    let again = "The running program would try again";
    // Where: what each line says; what those of webhook and Alertmanager say too.
    let cases: [(&str, String, &[&str]); 10] = [
        (
            "no-name",
            format!("https://receiver.invalid/{SECRET}"),
            &["Check that ", " can be reached from here", again],
        ),
        (
            "no-port",
            format!("http://127.0.0.1:9/{SECRET}"),
            &["Connection refused", "can be reached from here", again],
        ),
        ("no-path", at("404"), &["404 Not Found", ". Check "]),
        ("moved", at("moved"), &["308 Permanent Redirect", "Redirects are not followed: give the URL that "]),
        ("denied", at("401"), &["401 Unauthorized", ". Check "]),
        ("broken", at("503"), &["503 Service Unavailable", again]),
        (
            "busy",
            at("busy"),
            &["429 Too Many Requests", "The running program would try again after 1s500ms, for up to 1h"],
        ),
        ("hangs", at("hangs"), &["timed out", "can be reached from here", again]),
        (
            "untrusted",
            format!("https://localhost:{}/{SECRET}", encrypted.address.port()),
            &["invalid peer certificate: UnknownIssuer", "Name the file", "$SSL_CERT_FILE"],
        ),
        (
            "no-tls",
            format!("https://{}/{SECRET}", server.address()),
            &["does not speak TLS. Is the port right, and is it https?"],
        ),
    ];
    let sinks = cases.iter().flat_map(|(name, url, _)| of_each_type(&files, name, url)).collect();
    let checked = files.check(&["--send"], sinks).await;
    for (name, _, said) in &cases {
        for (sink, receiver) in
            [("webhook", "the webhook"), ("slack", "Slack"), ("alertmanager", "Alertmanager at ")]
        {
            let line = checked.line(&format!("{name}-{sink}"));
            assert!(
                line.starts_with(&format!("{name}-{sink} ({sink}): failed: posting to {receiver}"))
                    || line.contains("finding the addresses of Alertmanager at receiver.invalid"),
                "{line}"
            );
            for said in *said {
                let is_said = line.contains(said);
                assert!(is_said || (*name == "no-name" && line.contains("Check its name in urls")), "{line}");
            }
        }
    }
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    assert!(checked.stderr.contains("the test did not reach every sink; what failed: broken-alertmanager, "));
}

#[tokio::test]
async fn what_takes_the_test_is_told_with_where_to_look() {
    let (files, server) = (Checking::new(), receiver().await);
    let at = |what: &str| format!("{}/{SECRET}/{what}", server.uri());
    let (url, authorization) = (files.file("url", &at("204")), files.file("authorization", "Bearer hunter2"));
    let (key, signing) = (files.file("key", SECRET), files.file("signing", SIGNING_SECRET));
    let sinks = json!({
        "webhook": {
            "type": "webhook", "url_file": url, "headers": {"X-Team": SECRET},
            "header_files": {"Authorization": authorization}, "secret_files": {"key": key},
            "signing_secret_file": signing, "body": "{ \"key\": {{ secrets.key }}, \"is_test\": {{ finding.test }} }",
        },
        "slack": {"type": "slack", "webhook_url": at("slack")},
        "alertmanager": {"type": "alertmanager", "urls": [format!("{}/200", server.uri()), "http://127.0.0.1:9"]},
    });
    let checked = files.check(&[], sinks.clone()).await;
    assert_eq!((checked.code, checked.stderr.lines().count()), (Some(0), 1), "{}", checked.stderr);
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
    assert_eq!(checked.stdout.matches("\"***\"").count(), 2, "{}", checked.stdout);

    let checked = files.check(&["--send"], sinks).await;
    let message = "This is a test of kubernetes-oom-event-generator: nothing was killed";
    for sink in ["webhook", "slack"] {
        let line = format!("{sink} ({sink}): delivered: look there for {message:?}");
        assert_eq!(checked.line(sink), line);
    }
    let line = checked.line("alertmanager");
    assert!(line.contains("delivered: an alert with the label test=\"true\""), "{line}");
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let requests = server.received_requests().await.unwrap();
    let webhook = requests.iter().find(|it| it.url.path().ends_with("204")).unwrap();
    assert_eq!(webhook.body_json::<Value>().unwrap(), json!({"key": SECRET, "is_test": true}));
    assert_eq!(webhook.headers["authorization"], "Bearer hunter2");
    assert!(webhook.headers.contains_key("webhook-signature"));
}

/// Webhooks with a mistake each, and what is said of it.
fn wrong_webhooks(files: &Checking) -> Vec<(Value, &'static str)> {
    let (empty, malformed) =
        (files.file("empty", "\n"), files.file("malformed", "whsec_not Base64! hunter2"));
    let body = |body: &str| json!({"type": "webhook", "url": "https://x.example", "body": body});
    let webhook =
        |key: &str, value: Value| json!({"type": "webhook", "url": "https://x.example", key: value});
    vec![
        (json!({"type": "webhook"}), "url: is missing; expected url, url_file or $OOM_SINKS__"),
        (webhook("url", json!("hunter2")), "url: is not a URL; expected an https URL; http only to "),
        (
            webhook("url", json!("ftp://hunter2")),
            "url: is not an https URL; expected an https URL; http only to ",
        ),
        (
            webhook("url", json!("http://example.com/hunter2")),
            "url: would send the findings, and the URL if it is secret",
        ),
        (
            json!({"type": "webhook", "url_file": "/nowhere/hunter2"}),
            "url_file: names a file that cannot be read",
        ),
        (json!({"type": "webhook", "url_file": empty}), "url_file: is empty; expected the secret"),
        (webhook("header_files", json!({"A": empty})), "header_files: is empty; expected the secret"),
        (
            webhook("secret_files", json!({"key": "/nowhere/hunter2"})),
            "secret_files: names a file that cannot be read",
        ),
        (
            webhook("signing_secret_file", json!(malformed)),
            "signing_secret_file: holds no Base64; expected whsec_",
        ),
        (webhook("signing_secret_file", json!(empty)), "signing_secret_file: is empty"),
        (webhook("method", json!("GET")), "method: is \"GET\"; expected POST, PUT or PATCH"),
        (webhook("batch", json!(1000)), "batch: is 1000; expected a whole number from 1 to 200"),
        (webhook("accept", json!([2000])), "accept: has 2000; expected a list of statuses"),
        (webhook("bodi", json!("")), "bodi: is no known key (did you mean body?)"),
        (body("{\n  \"a\": {{ finding.id }\n}"), "body: has at line 2, column "),
        (
            body("{\n  \"a\": {{ finding.clusetr }}\n}"),
            "body: has at line 2, column 11: a value that doesn't exist",
        ),
        (
            body("{{ finding.cause.text }}"),
            "can be null; put the latter behind {% if … %} (`finding.cause.text`)",
        ),
        (body("{ \"a\": }"), "body: has at line 1, column 8: gives no JSON: expected value"),
        (body("{ \"a\": \"in {{ finding.namespace }}\" }"), "gives no JSON: expected `,` or `}`"),
        (body("{{ \"x\" * 2000000 }}"), "body: gives more than 1048576 bytes"),
        (
            body("{% for a in range(9999) %}{% for b in range(9999) %}1{% endfor %}{% endfor %}"),
            "more work, or more text, than a template may do",
        ),
        (body("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "body: has at line 1, column "),
        (body("{% include '/etc/passwd' %}"), "body: has at line 1, column "),
        (body("{{ secrets.key }}"), "body: has at line 1, column 4: a value that doesn't exist"),
    ]
}

/// Sinks of the other types with a mistake each, and what is said of it.
fn wrong_others(files: &Checking) -> Vec<(Value, &'static str)> {
    let empty = files.file("empty", "\n");
    let slack = |url: String| json!({"type": "slack", "webhook_url": url});
    let alerts = |key: &str, value: Value| {
        let mut sink = json!({"type": "alertmanager", "urls": ["http://alertmanager:9093"]});
        sink[key] = value;
        sink
    };
    vec![
        (
            slack("http://hooks.slack.com/services/hunter2".into()),
            "webhook_url: would send the findings, and the URL",
        ),
        (
            slack("https://hooks.slack.com/workflows/T0/A0/1/hunter2".into()),
            "webhook_url: is the URL of a Slack workflow, which is no incoming webhook; expected the URL that Slack shows",
        ),
        (
            slack("https://hooks.slack.com/triggers/T0/1/hunter2".into()),
            "webhook_url: is the URL of a Slack workflow",
        ),
        (
            json!({"type": "slack", "webhook_url_file": empty}),
            "webhook_url_file: is empty; expected the secret",
        ),
        (
            json!({"type": "slack"}),
            "webhook_url: is missing; expected webhook_url, webhook_url_file or $OOM_SINKS__",
        ),
        (json!({"type": "alertmanager"}), "urls: is missing; expected a list of the URLs of all replicas"),
        (alerts("urls", json!([])), "urls: is empty; expected a list of the URLs"),
        (alerts("urls", json!(["alertmanager:9093"])), "urls: has one that is not an http or https URL"),
        (
            alerts("urls", json!(["http://me:hunter2@alertmanager"])),
            "urls: has one that has a user, a password or a query",
        ),
        (alerts("resolve_after", json!("0s")), "resolve_after: is 0s, so each alert would end at once"),
        (alerts("labels", json!({"my-team": "x"})), "labels: has \"my-team\"; expected names of a-z"),
    ]
}

#[tokio::test]
async fn what_is_wrong_with_a_sink_is_told_with_what_would_be_right() {
    let files = Checking::new();
    let cases = [wrong_webhooks(&files), wrong_others(&files)].concat();
    let sinks =
        cases.iter().enumerate().map(|(number, (sink, _))| (format!("sink{number}"), sink.clone())).collect();
    for arguments in [&[][..], &["--send"]] {
        let checked = files.check(arguments, Value::Object(serde_json::Map::clone(&sinks))).await;
        assert_eq!((checked.code, checked.stdout.as_str()), (Some(2), ""), "{}", checked.stderr);
        let config = files.0.path().join("config.yaml");
        for (number, (sink, said)) in cases.iter().enumerate() {
            let of_it = format!("{}: sinks.sink{number}.", config.display());
            let lines: Vec<_> = checked.stderr.lines().filter(|line| line.starts_with(&of_it)).collect();
            assert!(matches!(lines.as_slice(), [line] if line.contains(said)), "{sink}: {said}: {lines:?}");
        }
        assert_eq!(checked.stderr.lines().count(), cases.len(), "{}", checked.stderr);
    }
}
