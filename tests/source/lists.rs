//! Lists that fail, for long or on a later page, and answers that are no lists.

use std::sync::Mutex;

use serde_json::{Value, json};
use support::{
    api_server::{ApiServer, Asked, gone, status},
    behaviour::Behaviour,
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, SECOND, Watching, killed, restarted};

/// As many Pods as this, in pages of 100; each was killed.
fn pods(server: &ApiServer, count: u32) -> Vec<String> {
    for number in 0..count {
        server.put("pods", restarted(&format!("pod{number:03}"), 1));
    }
    (0..count).map(|number| format!("pod{number:03}-0")).collect()
}

fn found(instances: &[String]) -> Vec<&str> {
    instances.iter().map(String::as_str).collect()
}

/// The pages of the Pods' list that were asked for, by what they began after.
fn pages(server: &ApiServer) -> Vec<String> {
    let asked = server.asked().into_iter().filter(|asked| asked.is_list("pods"));
    asked.map(|asked| asked.query.get("continue").cloned().unwrap_or_default()).collect()
}

fn is_third_page(asked: &Asked) -> bool {
    asked.query.get("continue").is_some_and(|token| token.ends_with("pod099"))
}

async fn fails_for_long(refusal: Value, speaks_of: &str) {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 0));
    server.misbehave(Behaviour::refuses(&refusal), |asked| asked.is_list("pods"));
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    sleep(HOUR * 3).await;
    assert!(!day.is_ready());
    assert!(day.readyz().contains(speaks_of), "{}", day.readyz());
    day.finds(&[]);
    day.has_slowed_down("pods");
    day.recovers().await;
    day.finds(&["cart-0", "afterwards-0"]);
    let said = Watching::logged("WARN").len();
    assert!((1..=19).contains(&said), "said once in ten minutes: {said}");
}

#[tokio::test(start_paused = true)]
async fn fails_to_list_for_long_500() {
    fails_for_long(status(500, "InternalError", "etcdserver: leader changed"), "leader changed").await;
}

#[tokio::test(start_paused = true)]
async fn fails_to_list_for_long_503() {
    fails_for_long(status(503, "ServiceUnavailable", "apiserver is shutting down"), "503").await;
}

#[tokio::test(start_paused = true)]
async fn fails_to_list_for_long_403() {
    let refusal = status(403, "Forbidden", "pods is forbidden");
    fails_for_long(refusal, "Grant the account the verbs list and watch on pods").await;
}

#[tokio::test(start_paused = true)]
async fn fails_on_the_third_page_which_alone_is_asked_for_again() {
    let server = ApiServer::new();
    let expected = pods(&server, 125);
    server.misbehave_times(3, Behaviour::refuses(&status(500, "InternalError", "no")), is_third_page);
    let day = Watching::begin(&server).await;
    sleep(MINUTE).await;
    day.finds(&found(&expected));
    let pages = pages(&server);
    let third = pages[2].clone();
    assert!(third.ends_with("pod099"));
    assert_eq!(pages[2..], [&third[..]; 4]);
    assert!(day.is_ready());
}

#[tokio::test(start_paused = true)]
async fn forgets_the_version_on_the_third_page_so_that_all_is_listed_again() {
    let server = ApiServer::new();
    let expected = pods(&server, 125);
    server.misbehave_times(1, Behaviour::refuses(&gone()), is_third_page);
    let day = Watching::begin(&server).await;
    day.finds(&found(&expected));
    assert_eq!(pages(&server).len(), 6);
    day.is_quiet();
}

#[tokio::test(start_paused = true)]
async fn forgets_the_version_on_every_third_page() {
    let server = ApiServer::new();
    let expected = pods(&server, 125);
    server.misbehave(Behaviour::refuses(&gone()), is_third_page);
    let day = Watching::begin(&server).await;
    sleep(HOUR).await;
    assert!(!day.is_ready());
    day.has_slowed_down("pods");
    // What the first two pages showed wasn't kept back.
    day.finds(&found(&expected[..100]));
    day.recovers().await;
    assert!(day.found.lock().unwrap().contains(&"containerd://pod124-0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn lists_a_thousand_pages_in_trouble_without_a_pause_between_them() {
    let server = ApiServer::new();
    pods(&server, 999);
    server.misbehave_times(5, Behaviour::refuses(&gone()), |asked| asked.is_watch("pods"));
    let day = Watching::begin(&server).await;
    sleep(MINUTE * 5).await;
    assert!(day.is_ready());
    let pages: Vec<_> = server.asked().into_iter().filter(|asked| asked.is_list("pods")).collect();
    for page in pages.windows(2).filter(|pair| pair[1].is_next_page()) {
        assert_eq!(page[0].at, page[1].at);
    }
}

#[tokio::test(start_paused = true)]
async fn lists_one_object_among_500_that_cannot_be_read() {
    let server = ApiServer::new();
    let expected = pods(&server, 500);
    let mut broken = restarted("pod321", 1);
    broken["metadata"]["uid"] = serde_json::json!({"\u{1b}[31m": 1});
    server.put("pods", broken);
    let day = Watching::begin(&server).await;
    let expected: Vec<_> = expected.into_iter().filter(|instance| instance != "pod321-0").collect();
    day.finds(&found(&expected));
    assert!(day.is_ready());
    assert_eq!(day.metric("undecodable_total", "pods"), 1);
    let said = Watching::logged("ERROR").join("\n");
    assert!(said.contains("shop/pod321") && !said.contains('\u{1b}'), "{said}");
}

#[tokio::test(start_paused = true)]
async fn lists_pages_too_large_to_hold() {
    let server = ApiServer::new();
    let expected = pods(&server, 30);
    for name in &expected {
        let mut large = restarted(name.split_once('-').unwrap().0, 1);
        large["metadata"]["annotations"] = json!({"notes": "<".repeat(1024 * 1024)});
        server.put("pods", large);
    }
    let day = Watching::begin(&server).await;
    sleep(MINUTE).await;
    assert!(day.is_ready(), "{}", day.readyz());
    day.finds(&found(&expected));
}

#[tokio::test(start_paused = true)]
async fn lists_a_few_large_pods_among_many_small_ones_in_few_pages() {
    let server = ApiServer::new();
    let expected = pods(&server, 600);
    for name in ["pod007", "pod008", "pod300"] {
        let mut large = restarted(name, 1);
        large["metadata"]["annotations"] = json!({"notes": "<".repeat(9 * 1024 * 1024)});
        server.put("pods", large);
    }
    let day = Watching::begin(&server).await;
    sleep(SECOND * 20).await;
    assert!(day.is_ready(), "{}", day.readyz());
    day.finds(&found(&expected));
    let asked = server.asked().into_iter().filter(|asked| asked.is_list("pods")).count();
    assert!(asked < 40, "{asked} pages, where 12 of 50 would do without them");
}

#[tokio::test(start_paused = true)]
async fn answers_what_is_no_list() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 0));
    server.put("pods", killed("cart", 0));
    for answer in ["<!doctype html><html>Log in</html>", "{}", "null", "", "{\"items\": []}", "{\"metadata\""]
    {
        let day = Watching::begin(&server).await;
        // A list in which the Pod is missing would end it.
        server.misbehave(Behaviour::says(200, answer.to_owned()), |asked| asked.is_list("pods"));
        server.end_watches("pods", &json!({"type": "ERROR", "object": gone()}));
        sleep(MINUTE * 2).await;
        assert!(!day.is_ready(), "{answer}");
        day.recovers().await;
        server.put("pods", restarted("cart", 1));
        sleep(SECOND).await;
        day.finds(&["cart-0", "afterwards-0"]);
        server.put("pods", killed("cart", 0));
        server.delete("pods", "shop", "afterwards");
    }
}

/// Answers these requests with an error as often as this, by chance.
fn fails_at_times(server: &ApiServer, share: f64, applies: impl Fn(&Asked) -> bool + Send + 'static) {
    let chance = Mutex::new(fastrand::Rng::with_seed(7));
    let refusal = status(500, "InternalError", "etcdserver: request timed out");
    server.misbehave(Behaviour::refuses(&refusal), move |asked| {
        applies(asked) && chance.lock().unwrap().f64() < share
    });
}

#[tokio::test(start_paused = true)]
async fn answers_half_of_the_further_pages_with_an_error() {
    let server = ApiServer::new();
    let expected = pods(&server, 660);
    fails_at_times(&server, 0.5, |asked| asked.is_list("pods") && asked.is_next_page());
    let day = Watching::begin(&server).await;
    sleep(SECOND * 20).await;
    day.finds(&found(&expected));
    assert!(day.is_ready(), "{}", day.readyz());
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn answers_some_pages_of_a_long_list_with_an_error() {
    let server = ApiServer::new();
    for number in 0..5_000 {
        server.put("pods", restarted(&format!("pod{number:04}"), 0));
    }
    fails_at_times(&server, 0.1, |asked| asked.is_list("pods") && asked.is_next_page());
    let day = Watching::begin(&server).await;
    sleep(SECOND * 20).await;
    assert!(day.is_ready(), "{}", day.readyz());
    let failed = day.metric("watch_errors_total", "pods");
    assert!((3..=30).contains(&failed), "{failed} of 100 pages failed");
}
