//! Versions that aren't what they were: etcd is restored from a backup.

use std::time::Duration;

use serde_json::json;
use support::{
    api_server::{ApiServer, Asked, status},
    behaviour::{Answer, Behaviour},
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, RECOVERY, SECOND, Watching, killed, restarted, started};

/// A cluster that went on after its backup was made.
async fn gone_on() -> (ApiServer, Watching, support::api_server::EtcdBackup) {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 0));
    let day = Watching::begin(&server).await;
    let backup = server.backup();
    for _ in 0..10 {
        server.bookmark("pods");
        server.bookmark("events");
    }
    server.put("pods", restarted("cart", 1));
    sleep(MINUTE).await;
    day.finds(&["cart-0"]);
    (server, day, backup)
}

#[tokio::test(start_paused = true)]
async fn goes_back_to_a_backup_and_is_silent_until_it_has_caught_up() {
    let (server, day, backup) = gone_on().await;
    server.restore(backup);
    server.put("pods", killed("cart", 1));
    sleep(SECOND * 5).await;
    server.put("pods", restarted("cart", 2));
    server.put("pods", killed("bank", 0));
    sleep(SECOND * 5).await;
    server.put("events", started("bank"));
    sleep(SECOND * 5).await;
    day.finds(&["bank-0", "cart-0", "cart-1"]);
    sleep(HOUR).await;
    day.finds(&["bank-0", "cart-0", "cart-1"]);
    assert!(day.is_ready());
}

#[tokio::test(start_paused = true)]
async fn goes_back_to_a_backup_while_it_cannot_be_reached() {
    let (server, day, backup) = gone_on().await;
    server.misbehave(Behaviour::fails(Answer::Breaks), |_| true);
    server.restore(backup);
    server.put("pods", restarted("cart", 2));
    sleep(HOUR).await;
    assert!(!day.is_ready());
    day.recovers().await;
    day.finds(&["afterwards-0", "cart-0", "cart-1"]);
}

#[tokio::test(start_paused = true)]
async fn goes_back_to_a_backup_and_its_connections_hold() {
    let (server, day, backup) = gone_on().await;
    // The watches end in good time, and those after them begin in the future.
    sleep(MINUTE).await;
    server.swap(backup);
    sleep(MINUTE * 2).await;
    server.put("pods", restarted("cart", 2));
    sleep(SECOND).await;
    day.finds(&["cart-0", "cart-1"]);
    assert!(day.is_ready());
}

async fn says_that_the_version_is_too_large(too_large: serde_json::Value) {
    let (server, day, backup) = gone_on().await;
    let is_from_before = |asked: &Asked| {
        asked.query.get("resourceVersion").is_some_and(|version| version.parse::<u32>().unwrap() > 1100)
    };
    server.misbehave(Behaviour::refuses(&too_large), is_from_before);
    server.restore(backup);
    server.put("pods", restarted("cart", 2));
    sleep(RECOVERY).await;
    day.finds(&["cart-0", "cart-1"]);
    assert!(day.is_ready(), "{}", day.readyz());
}

#[tokio::test(start_paused = true)]
async fn says_that_the_version_is_too_large_with_a_cause() {
    let mut too_large = status(504, "Timeout", "the server is behind");
    too_large["details"] = json!({"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1});
    says_that_the_version_is_too_large(too_large).await;
}

#[tokio::test(start_paused = true)]
async fn says_that_the_version_is_too_large_in_words() {
    let message = "Timeout: Too large resource version: 1201, current: 1003";
    says_that_the_version_is_too_large(status(504, "Timeout", message)).await;
}

#[tokio::test(start_paused = true)]
async fn has_versions_that_are_no_numbers() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    let list = json!({"metadata": {"resourceVersion": "abc"}, "items": [restarted("cart", 1)]});
    server.misbehave(Behaviour::says(200, list.to_string()), |asked| {
        asked.resource == "pods" && !asked.is_watch("pods")
    });
    server.misbehave(Behaviour::loses(Answer::FreezesAfter(0)), |asked| asked.is_watch("pods"));
    server.end_watches("pods", &json!({"type": "ERROR", "object": {"code": 410}}));
    sleep(Duration::from_secs(30)).await;
    day.finds(&["cart-0"]);
    assert!(day.is_ready());
}
