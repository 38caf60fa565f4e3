//! Lists that fail, for long or on a later page, and answers that are no lists.

use std::sync::Mutex;

use serde_json::{Value, json};
use support::{
    api_server::{ApiServer, Asked, gone, status},
    behaviour::{Answer, Behaviour},
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, SECOND, Watching, killed, restarted};

/// As many Pods as this, in pages of 500; each was killed.
fn pods(server: &ApiServer, count: u32) -> Vec<String> {
    for number in 0..count {
        server.put("pods", restarted(&format!("pod{number:04}"), 1));
    }
    (0..count).map(|number| format!("pod{number:04}-0")).collect()
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
    asked.query.get("continue").is_some_and(|token| token.ends_with("pod0999"))
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
    let expected = pods(&server, 1250);
    server.misbehave_times(3, Behaviour::refuses(&status(500, "InternalError", "no")), is_third_page);
    let day = Watching::begin(&server).await;
    sleep(MINUTE).await;
    day.finds(&found(&expected));
    let pages = pages(&server);
    let third = pages[2].clone();
    assert!(third.ends_with("pod0999"));
    assert_eq!(pages[2..], [&third[..]; 4]);
    assert!(day.is_ready());
}

#[tokio::test(start_paused = true)]
async fn forgets_the_version_on_the_third_page_so_that_all_is_listed_again() {
    let server = ApiServer::new();
    let expected = pods(&server, 1250);
    server.misbehave_times(1, Behaviour::refuses(&gone()), is_third_page);
    let day = Watching::begin(&server).await;
    day.finds(&found(&expected));
    assert_eq!(pages(&server).len(), 6);
    day.is_quiet();
}

#[tokio::test(start_paused = true)]
async fn forgets_the_version_on_every_third_page() {
    let server = ApiServer::new();
    let expected = pods(&server, 1250);
    server.misbehave(Behaviour::refuses(&gone()), is_third_page);
    let day = Watching::begin(&server).await;
    sleep(MINUTE * 12).await;
    assert!(!day.is_ready());
    day.has_slowed_down("pods");
    // What the first two pages showed wasn't kept back.
    day.finds(&found(&expected[..1000]));
    day.recovers().await;
    assert!(day.found.lock().unwrap().contains(&"containerd://pod1249-0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn lists_many_pages_in_trouble_without_a_pause_between_them() {
    let server = ApiServer::new();
    pods(&server, 2500);
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
    let mut broken = restarted("pod0321", 1);
    broken["metadata"]["uid"] = serde_json::json!({"\u{1b}[31m": 1});
    server.put("pods", broken);
    let day = Watching::begin(&server).await;
    let expected: Vec<_> = expected.into_iter().filter(|instance| instance != "pod0321-0").collect();
    day.finds(&found(&expected));
    assert!(day.is_ready());
    assert_eq!(day.metric("undecodable_total", "pods"), 1);
    let said = Watching::logged("ERROR").join("\n");
    assert!(said.contains("shop/pod0321") && !said.contains('\u{1b}'), "{said}");
}

/// Makes each of these Pods as large as one can be in JSON.
fn grow(server: &ApiServer, names: impl IntoIterator<Item = String>, megabytes: usize) {
    for name in names {
        let mut large = restarted(&name, 1);
        large["metadata"]["annotations"] = json!({"notes": "<".repeat(megabytes * 1024 * 1024)});
        server.put("pods", large);
    }
}

#[tokio::test(start_paused = true)]
async fn lists_a_page_larger_than_any_memory() {
    let server = ApiServer::new();
    let expected = pods(&server, 20);
    grow(&server, (0..20).map(|number| format!("pod{number:04}")), 9);
    let day = Watching::begin(&server).await;
    day.finds(&found(&expected));
    assert_eq!(pages(&server).len(), 1);
    day.is_quiet();
}

#[tokio::test(start_paused = true)]
async fn lists_an_object_too_large_to_hold_among_others() {
    let server = ApiServer::new();
    let expected = pods(&server, 3);
    grow(&server, ["pod0001".to_owned()], 17);
    let day = Watching::begin(&server).await;
    day.finds(&[&expected[0], &expected[2]]);
    assert!(day.is_ready());
    assert_eq!(day.metric("undecodable_total", "pods"), 1);
}

#[tokio::test(start_paused = true)]
async fn lists_a_page_that_takes_too_long_in_smaller_ones_which_grow_again() {
    let server = ApiServer::new();
    let expected = pods(&server, 1000);
    let is_of_pods = |asked: &Asked| asked.is_list("pods");
    let is_later =
        |asked: &Asked| asked.query.get("continue").is_some_and(|token| token.ends_with("pod0349"));
    server.misbehave_times(1, Behaviour::refuses(&gone()), is_later);
    server.misbehave_times(1, Behaviour::loses(Answer::FreezesAfter(1000)), is_of_pods);
    let day = Watching::begin(&server).await;
    sleep(MINUTE * 5).await;
    day.finds(&found(&expected));
    let asked = server.asked().into_iter().filter(is_of_pods);
    let limits: Vec<_> = asked.map(|asked| asked.number("limit").unwrap()).collect();
    // The fifth says that the version has expired, so that the list begins anew.
    assert_eq!(limits, [500, 50, 100, 200, 400, 400, 500, 500]);
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
    let expected = pods(&server, 6600);
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
    fails_at_times(&server, 0.4, |asked| asked.is_list("pods") && asked.is_next_page());
    let day = Watching::begin(&server).await;
    sleep(SECOND * 20).await;
    assert!(day.is_ready(), "{}", day.readyz());
    let failed = day.metric("watch_errors_total", "pods");
    assert!((1..=30).contains(&failed), "{failed} times a page failed");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_api_server_gave_and_cannot_read_leads_to_a_new_list() {
    let server = ApiServer::new();
    let instances = pods(&server, 2);
    let page =
        json!({"kind": "PodList", "metadata": {"resourceVersion": "2", "continue": "odd"}, "items": []});
    server.misbehave_times(1, Behaviour::says(200, page.to_string()), |asked| asked.is_list("pods"));
    let day = Watching::begin(&server).await;
    sleep(MINUTE).await;
    assert_eq!(pages(&server), ["", "odd", ""]);
    day.finds(&found(&instances));
}
