//! What happened while nobody was looking, and a list tells of it afterwards.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use support::{
    api_server::{ApiServer, gone},
    behaviour::{Answer, Behaviour},
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, SECOND, Watching, killed, restarted, restarted_at};

/// Away for so long, and then the version is too old: all is listed again.
async fn away(server: &ApiServer, time: Duration) {
    server.misbehave(Behaviour::fails(Answer::Breaks), |_| true);
    server.drop_watches();
    sleep(time).await;
    server.bookmark("pods");
    server.compact();
}

#[tokio::test(start_paused = true)]
async fn a_kill_is_pending_while_all_is_listed_again() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.put("pods", killed("cart", 0));
    server.put("pods", restarted("bank", 0));
    for _ in 0..3 {
        server.end_watches("pods", &json!({"type": "ERROR", "object": gone()}));
        sleep(MINUTE).await;
    }
    day.finds(&[]);
    server.put("pods", restarted("cart", 1));
    sleep(SECOND).await;
    day.finds(&["cart-0"]);
    day.is_quiet();
}

#[tokio::test(start_paused = true)]
async fn a_known_container_was_killed_during_an_outage_of_hours() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 1));
    let day = Watching::begin(&server).await;
    day.finds(&["cart-0"]);
    away(&server, HOUR * 5).await;
    server.put("pods", restarted_at("cart", 2, Timestamp::now() - SignedDuration::from_hours(4)));
    day.recovers().await;
    day.finds(&["afterwards-0", "cart-0", "cart-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_was_killed_since_the_program_was_last_in_sync() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    away(&server, HOUR * 3).await;
    // By a paused clock three hours passed; by the nodes' none: a kill of now is one of three hours
    // ago less what has to be found.
    let ago = |minutes: i64| Timestamp::now() - SignedDuration::from_mins(minutes);
    server.put("pods", restarted_at("during", 1, ago(100)));
    server.put("pods", restarted_at("within", 1, ago(3 * 60 + 50)));
    server.put("pods", restarted_at("before", 1, ago(3 * 60 + 60)));
    day.recovers().await;
    day.finds(&["afterwards-0", "during-0", "within-0"]);
}

#[tokio::test(start_paused = true)]
async fn the_program_was_in_sync_as_long_as_its_watches_ended_in_good_time() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    sleep(HOUR * 3).await;
    away(&server, MINUTE).await;
    let ago = |minutes: i64| Timestamp::now() - SignedDuration::from_mins(minutes);
    server.put("pods", restarted_at("within", 1, ago(50)));
    server.put("pods", restarted_at("before", 1, ago(60)));
    day.recovers().await;
    day.finds(&["afterwards-0", "within-0"]);
}

#[tokio::test(start_paused = true)]
async fn the_program_was_not_in_sync_while_the_server_was_silent() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.freeze_watches();
    server.misbehave(Behaviour::loses(Answer::FreezesAfter(0)), |asked| asked.query.contains_key("watch"));
    sleep(HOUR * 3).await;
    server.bookmark("pods");
    server.compact();
    let ago = |minutes: i64| Timestamp::now() - SignedDuration::from_mins(minutes);
    server.put("pods", restarted_at("during", 1, ago(170)));
    server.behave();
    sleep(MINUTE * 3).await;
    day.finds(&["during-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_was_deleted_during_an_outage() {
    let server = ApiServer::new();
    server.put("pods", killed("cart", 0));
    server.put("pods", restarted("bank", 0));
    let day = Watching::begin(&server).await;
    away(&server, HOUR).await;
    server.delete("pods", "shop", "cart");
    server.delete("pods", "shop", "bank");
    day.recovers().await;
    day.finds(&["afterwards-0"]);
    // A Pod of that name is another one, unless it has the same UID: then it is as good as new.
    server.put("pods", restarted("cart", 1));
    sleep(SECOND).await;
    day.finds(&["afterwards-0", "cart-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_was_deleted_during_an_outage_that_the_watch_tells_of() {
    let server = ApiServer::new();
    server.put("pods", killed("cart", 0));
    let day = Watching::begin(&server).await;
    server.misbehave(Behaviour::fails(Answer::Breaks), |_| true);
    server.drop_watches();
    server.put("pods", restarted("cart", 1));
    server.delete("pods", "shop", "cart");
    sleep(HOUR).await;
    day.recovers().await;
    day.finds(&["afterwards-0", "cart-0"]);
}
