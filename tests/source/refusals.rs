//! A server that asks for patience, and rights that are missing.

use jiff::Timestamp;
use serde_json::{Value, json};
use support::{
    api_server::{ApiServer, Asked, status},
    behaviour::{Answer, Behaviour},
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, SECOND, Watching, restarted, shown};

fn too_many() -> Value {
    status(429, "TooManyRequests", "too many requests, please try again later")
}

/// Nothing was asked for so many seconds after the first refusal, and something soon after.
#[track_caller]
fn left_alone_for(server: &ApiServer, seconds: u64, asks: impl Fn(&Asked) -> bool) {
    let times: Vec<_> = server.asked().into_iter().filter(asks).map(|asked| asked.at).collect();
    let pause = times[1].duration_since(times[0]).as_secs();
    assert!((seconds..=seconds + 2).contains(&pause), "{pause} s");
}

#[tokio::test(start_paused = true)]
async fn asks_by_a_header_to_be_left_alone() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 1));
    server
        .misbehave_times(1, Behaviour::refuses(&too_many()).and_asks_for(120), |asked| asked.is_list("pods"));
    let day = Watching::begin(&server).await;
    sleep(MINUTE * 2).await;
    left_alone_for(&server, 120, |asked| asked.is_list("pods"));
    day.recovers().await;
    day.finds(&["afterwards-0", "cart-0"]);
}

#[tokio::test(start_paused = true)]
async fn asks_in_its_details_to_be_left_alone() {
    let server = ApiServer::new();
    let mut refusal = too_many();
    refusal["details"] = json!({"retryAfterSeconds": 90});
    let error = json!({"type": "ERROR", "object": refusal}).to_string();
    server.misbehave_times(1, Behaviour::refuses(&refusal), |asked| asked.is_list("pods"));
    server.misbehave_times(1, Behaviour::says(200, error), |asked| asked.is_watch("events"));
    let day = Watching::begin(&server).await;
    sleep(MINUTE * 2).await;
    left_alone_for(&server, 90, |asked| asked.is_list("pods"));
    left_alone_for(&server, 90, |asked| {
        asked.is_watch("events") || asked.is_of_version() && asked.at.elapsed() < SECOND * 120
    });
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn asks_to_be_left_alone_for_ever() {
    let server = ApiServer::new();
    server.misbehave_times(1, Behaviour::refuses(&too_many()).and_asks_for(u32::MAX), |asked| {
        asked.is_watch("pods")
    });
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    sleep(MINUTE * 11).await;
    day.finds(&["cart-0"]);
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn asks_over_and_over_to_be_left_alone_for_a_second() {
    let server = ApiServer::new();
    server.misbehave(Behaviour::refuses(&too_many()).and_asks_for(1), |_| true);
    let day = Watching::begin(&server).await;
    sleep(HOUR).await;
    day.has_slowed_down("events");
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn forbids_events_while_pods_are_allowed() {
    let server = ApiServer::new();
    let message = "events is forbidden: User \"oom\" cannot list resource \"events\" in API group \"\"";
    server.misbehave(Behaviour::refuses(&status(403, "Forbidden", message)), |asked| {
        asked.resource == "events"
    });
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    sleep(HOUR).await;
    day.finds(&["cart-0"]);
    assert!(!day.is_ready());
    let rule = "Grant the account the verbs list and watch on events (API group \"\") by a ClusterRole";
    assert!(day.readyz().contains(rule), "{}", day.readyz());
    let said = Watching::logged("WARN");
    let (of_nodes, said): (Vec<_>, Vec<_>) =
        said.iter().partition(|line| line.contains("warnings about nodes"));
    assert!(said.iter().all(|line| line.contains(rule)), "{said:?}");
    assert!(
        (2..=8).contains(&said.len()),
        "once in ten minutes, and once as nothing was read back: {said:?}"
    );
    assert!((1..=7).contains(&of_nodes.len()), "once in ten minutes: {of_nodes:?}");
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn forbids_to_watch_what_may_be_listed() {
    let server = ApiServer::new();
    server.misbehave(Behaviour::refuses(&status(403, "Forbidden", "no")), |asked| asked.is_watch("pods"));
    let day = Watching::begin(&server).await;
    for count in 1..=4 {
        server.put("pods", restarted("cart", count));
        sleep(MINUTE * 10).await;
    }
    assert!(!day.is_ready());
    day.has_slowed_down("pods");
    day.recovers().await;
    day.finds(&["afterwards-0", "cart-0", "cart-1", "cart-2", "cart-3"]);
}

#[tokio::test(start_paused = true)]
async fn forbids_one_of_two_namespaces() {
    let server = ApiServer::new();
    let is_of_bank = |asked: &Asked| asked.namespace.as_deref() == Some("bank");
    server.misbehave(Behaviour::refuses(&status(403, "Forbidden", "no")), is_of_bank);
    let day = Watching::begin_in(&server, &["shop", "bank"]).await;
    server.put("pods", restarted("cart", 1));
    server.put("pods", shown("bank", "safe", "R(1,safe-1)+L(safe-0)", Timestamp::now()));
    sleep(HOUR).await;
    day.finds(&["cart-0"]);
    assert!(day.is_ready(), "{}", day.readyz());
    let said =
        "pods in the namespace bank: no right, watching the rest: can't list pods in the namespace bank";
    assert!(day.readyz().contains(said), "{}", day.readyz());
    assert!(day.readyz().contains("by a Role, in the namespace bank"), "{}", day.readyz());

    // What doesn't count doesn't count when the API server is away, either.
    server.misbehave_times(4, Behaviour::fails(Answer::Breaks), is_of_bank);
    sleep(MINUTE * 2).await;
    assert!(day.is_ready(), "{}", day.readyz());

    server.behave();
    sleep(MINUTE).await;
    day.finds(&["cart-0", "safe-0"]);
    assert!(!day.readyz().contains("no right"), "{}", day.readyz());
}

#[tokio::test(start_paused = true)]
async fn forbids_every_namespace() {
    let server = ApiServer::new();
    server.misbehave(Behaviour::refuses(&status(403, "Forbidden", "no")), |_| true);
    let day = Watching::begin_in(&server, &["shop", "bank"]).await;
    assert!(!day.is_ready());
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn gives_another_reason_every_time() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.drop_watches();
    for number in 0..20 {
        server.behave();
        let message = format!("failed calling webhook {number}\n\u{1b}[2J{}", "x".repeat(10_000));
        server.misbehave(Behaviour::refuses(&status(500, "InternalError", &message)), |_| true);
        sleep(MINUTE).await;
    }
    let warnings = Watching::logged("WARN");
    assert!((2..=6).contains(&warnings.len()), "once in ten minutes for each watch: {}", warnings.len());
    assert!(warnings.iter().all(|warning| warning.len() < 1000 && !warning.contains('\u{1b}')));
    assert!(day.readyz().lines().all(|line| line.len() < 1000 && !line.contains('\u{1b}')));
    day.recovers().await;
    assert!(
        Watching::logged("INFO").iter().any(|line| line.contains("watching pods in the whole cluster again"))
    );
}
