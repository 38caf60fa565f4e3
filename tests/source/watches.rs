//! Watches that end too early, or are refused because their version is too old.

use serde_json::json;
use support::{
    api_server::{ApiServer, Asked, gone},
    behaviour::Behaviour,
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, SECOND, Watching, killed, restarted, started};

#[tokio::test(start_paused = true)]
async fn a_good_day() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 0));
    server.put("pods", killed("cart", 0));
    sleep(HOUR).await;
    server.put("events", started("cart"));
    sleep(HOUR).await;
    server.put("pods", restarted("cart", 1));
    sleep(HOUR).await;
    day.finds(&["cart-0"]);
    day.is_quiet();
    let lists = server.asked().into_iter().filter(|asked| asked.is_list("pods")).count();
    assert_eq!(lists, 1, "nothing is listed again");
}

#[tokio::test(start_paused = true)]
async fn has_not_shown_a_change_which_a_list_finds_hours_later() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 0));
    let day = Watching::begin(&server).await;
    // The same version, and another state.
    let other = ApiServer::new();
    other.put("pods", restarted("cart", 1));
    server.swap(other.backup());
    sleep(HOUR * 2).await;
    day.finds(&[]);
    sleep(HOUR * 4).await;
    day.finds(&["cart-0"]);
    day.is_quiet();
    assert_eq!(day.metric("relisted_total", "pods"), 1);
    assert_eq!(day.metric("watch_events_total", "pods"), 1, "it doesn't count as seen by a watch");
    let lists = server.asked().into_iter().filter(|asked| asked.is_list("pods")).count();
    assert_eq!(lists, 2);
}

#[tokio::test(start_paused = true)]
async fn asks_for_nothing_but_three_watches_at_rest() {
    let server = ApiServer::new();
    let _day = Watching::begin(&server).await;
    let at_start = server.asked().len();
    for _ in 0..60 {
        server.bookmark("pods");
        sleep(SECOND * 20).await;
    }
    let at_rest = server.asked().split_off(at_start);
    let (watches, other): (Vec<_>, Vec<_>) =
        at_rest.iter().partition(|asked| asked.query.contains_key("watch"));
    assert_eq!(other.len(), 0, "{other:?}");
    assert!((72..=93).contains(&watches.len()), "each is renewed every 40 to 50 seconds: {}", watches.len());
}

#[tokio::test(start_paused = true)]
async fn ends_every_watch_at_once_without_a_word() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.misbehave(Behaviour::says(200, ""), |asked| asked.query.contains_key("watch"));
    server.drop_watches();
    sleep(MINUTE * 2).await;
    assert!(!day.is_ready());
    server.put("pods", restarted("cart", 1));
    sleep(HOUR).await;
    day.finds(&["cart-0"]);
    day.has_slowed_down("pods");
    day.has_slowed_down("events");
    day.recovers().await;
    day.finds(&["cart-0", "afterwards-0"]);
}

#[tokio::test(start_paused = true)]
async fn ends_three_watches_at_once_and_then_none() {
    let server = ApiServer::new();
    server.misbehave_times(3, Behaviour::says(200, ""), |asked| asked.is_watch("pods"));
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    sleep(MINUTE).await;
    day.finds(&["cart-0"]);
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn ends_every_watch_after_a_word() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    let bookmark = json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1000"}}});
    server.misbehave(Behaviour::says(200, format!("{bookmark}\n")), |asked| asked.is_watch("pods"));
    server.drop_watches();
    sleep(MINUTE * 2).await;
    assert!(!day.is_ready());
    server.put("pods", restarted("cart", 1));
    sleep(HOUR).await;
    day.finds(&["cart-0"]);
    day.has_slowed_down("pods");
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn ends_every_watch_early_but_not_at_once() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    for count in 1..=50 {
        sleep(SECOND * 10).await;
        server.drop_watches();
        server.put("pods", restarted("cart", count));
    }
    sleep(SECOND * 10).await;
    let expected: Vec<_> = (0..50).map(|count| format!("cart-{count}")).collect();
    day.finds(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    day.is_quiet();
}

#[tokio::test(start_paused = true)]
async fn answers_410_to_one_watch() {
    let server = ApiServer::new();
    server.misbehave_times(1, Behaviour::refuses(&gone()), |asked| asked.is_watch("pods"));
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    sleep(SECOND).await;
    day.finds(&["cart-0"]);
    day.is_quiet();
}

#[tokio::test(start_paused = true)]
async fn answers_410_to_every_watch() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.misbehave(Behaviour::refuses(&gone()), |asked| asked.is_watch("pods"));
    server.drop_watches();
    sleep(MINUTE * 2).await;
    assert!(!day.is_ready());
    for count in 1..=5 {
        server.put("pods", restarted("cart", count));
        sleep(MINUTE * 10).await;
    }
    day.finds(&["cart-0", "cart-1", "cart-2", "cart-3", "cart-4"]);
    day.has_slowed_down("pods");
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn says_410_within_a_watch() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    server.end_watches("pods", &json!({"type": "ERROR", "object": gone()}));
    server.put("pods", restarted("cart", 2));
    sleep(MINUTE).await;
    day.finds(&["cart-0", "cart-1"]);
    day.is_quiet();
}

#[tokio::test(start_paused = true)]
async fn says_410_within_every_watch() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    let error = json!({"type": "ERROR", "object": gone()});
    server.misbehave(Behaviour::says(200, format!("{error}\n")), |asked| asked.is_watch("pods"));
    server.drop_watches();
    sleep(MINUTE * 2).await;
    assert!(!day.is_ready());
    server.put("pods", restarted("cart", 1));
    sleep(HOUR).await;
    day.finds(&["cart-0"]);
    day.has_slowed_down("pods");
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn says_nothing_but_bookmarks() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    for _ in 0..60 {
        sleep(MINUTE / 2).await;
        server.bookmark("pods");
        server.compact();
    }
    day.is_quiet();
    let asked = server.asked();
    assert_eq!(asked.iter().filter(|asked| asked.is_list("pods")).count(), 1);
    let last = asked.iter().rfind(|asked| asked.is_watch("pods")).unwrap();
    assert!(last.query["resourceVersion"].parse::<u32>().unwrap() > 1500, "{last:?}");
    server.put("pods", restarted("cart", 1));
    sleep(SECOND).await;
    day.finds(&["cart-0"]);
}

#[tokio::test(start_paused = true)]
async fn forgets_the_version_of_a_quiet_watch_of_events_every_five_minutes() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    for _ in 0..24 {
        // Only the version of the Pods' watch goes on.
        server.bookmark("pods");
        server.compact();
        sleep(MINUTE * 5).await;
    }
    day.is_quiet();
    let lists = server.asked().into_iter().filter(Asked::is_of_version).count();
    assert!(lists > 24);
    server.put("pods", restarted("cart", 0));
    server.put("pods", killed("cart", 0));
    sleep(SECOND).await;
    server.put("events", started("cart"));
    sleep(SECOND).await;
    day.finds(&["cart-0"]);
}
