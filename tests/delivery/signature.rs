//! A receiver that verifies signatures with the stock library of Standard Webhooks takes what the webhook sink sends.

use std::{fs, process::Command};

use finding::Finding;
use kubernetes_oom_event_generator::config::Config;
use serde_json::{Value, json};
use sinks::{AttemptOutcome, SinkContext};
use support::tools;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Verifies a body and its headers, as JSON in the arguments, and prints the message.
const RECEIVER: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook
secret, body, headers = sys.argv[1:]
print(json.dumps(Webhook(secret).verify(body, json.loads(headers))))
";

fn verify(python: &std::path::Path, secret: &str, body: &str, headers: &Value) -> Option<Value> {
    let output =
        Command::new(python).args(["-c", RECEIVER, secret, body, &headers.to_string()]).output().unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn the_stock_library_takes_what_is_signed_and_nothing_else() {
    let python = tools::installed("python/bin/python").await;
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    let directory = tempfile::tempdir().unwrap();
    let (secret, config) = (directory.path().join("secret"), directory.path().join("config.yaml"));
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let settings = json!({"type": "webhook", "url": server.uri(), "signing_secret_file": secret});
    fs::write(&config, json!({"sinks": {"signed": settings}}).to_string()).unwrap();
    let sinks = Config::load(Some(&config), &[], []).unwrap().config.sinks;
    let sink = sinks[0].settings.build(&SinkContext { kubernetes: None, only_stdout: false }).unwrap();
    assert_eq!(sink.deliver(&[Finding::full().into()]).await, [AttemptOutcome::Delivered]);

    let request = &server.received_requests().await.unwrap()[0];
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let header = |name: &str| Value::from(request.headers[name].to_str().unwrap());
    let headers: Value = names.map(|name| (name.to_owned(), header(name))).into_iter().collect();
    let body = String::from_utf8(request.body.clone()).unwrap();
    assert_eq!(headers["webhook-id"], Finding::full().id.as_str());
    assert_eq!(verify(&python, SECRET, &body, &headers), Some(json!(Finding::full())));
    assert_eq!(verify(&python, SECRET, &body.replace("cart", "card"), &headers), None);
    assert_eq!(verify(&python, "whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &body, &headers), None);
}
