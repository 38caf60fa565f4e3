//! What is said within watches that is no line of a watch, or not what it should be.

use serde_json::json;
use support::{
    api_server::{ApiServer, status},
    behaviour::Behaviour,
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, SECOND, Watching, restarted};

#[tokio::test(start_paused = true)]
async fn says_an_object_that_cannot_be_read() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    let mut broken = restarted("broken", 1);
    broken["metadata"]["uid"] = json!(["nobody"]);
    for _ in 0..10 {
        server.put("pods", broken.clone());
        server.put("pods", restarted("cart", 1));
    }
    sleep(SECOND).await;
    day.finds(&["cart-0"]);
    assert!(day.is_ready());
    assert_eq!(day.metric("undecodable_total", "pods"), 10);
    assert_eq!(Watching::logged("ERROR").len(), 1, "said once");
    sleep(HOUR).await;
    let asked = server.asked();
    assert_eq!(asked.iter().filter(|asked| asked.is_list("pods")).count(), 1);
    let last = asked.iter().rfind(|asked| asked.is_watch("pods")).unwrap();
    assert_eq!(last.query["resourceVersion"], "1020", "the watch goes on after it");
}

#[tokio::test(start_paused = true)]
async fn says_nonsense_once() {
    for nonsense in [
        "<html>502 Bad Gateway</html>\n",
        "{\"type\": \"MODIFIED\", \"object\": {\"metadata\"\n",
        "{\"type\": 1, \"object\": {}}\n",
        "\u{0}\n",
        "[]\n",
    ] {
        let server = ApiServer::new();
        let day = Watching::begin(&server).await;
        server.say("pods", nonsense);
        server.put("pods", restarted("cart", 1));
        sleep(MINUTE).await;
        day.finds(&["cart-0"]);
        assert!(day.is_ready(), "{nonsense}");
        assert_eq!(day.metric("watch_errors_total", "pods"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_every_watch_with_a_login_page() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    let page = "<!doctype html>\n<html><body>\nPlease log in\n</body></html>\n";
    server.misbehave(Behaviour::says(200, page.to_owned()), |asked| asked.query.contains_key("watch"));
    server.drop_watches();
    server.put("pods", restarted("cart", 1));
    sleep(HOUR).await;
    assert!(!day.is_ready());
    day.finds(&["cart-0"]);
    day.has_slowed_down("pods");
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn ends_every_watch_with_an_error_without_a_code() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    for error in [json!({}), json!({"message": "no\u{1b}[31m"}), json!({"code": "many"}), json!(null)] {
        let line = json!({"type": "ERROR", "object": error}).to_string();
        server.misbehave(Behaviour::says(200, line), |asked| asked.is_watch("pods"));
        server.drop_watches();
        sleep(MINUTE * 15).await;
        assert!(!day.is_ready());
        day.has_slowed_down("pods");
        day.recovers().await;
    }
    day.finds(&["afterwards-0"]);
    assert!(!Watching::logged("WARN").join("").contains('\u{1b}'));
}

#[tokio::test(start_paused = true)]
async fn ends_a_watch_with_an_error_of_etcd() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    let error = status(500, "InternalError", "etcdserver: no leader");
    server.end_watches("pods", &json!({"type": "ERROR", "object": error}));
    server.put("pods", restarted("cart", 1));
    sleep(SECOND * 10).await;
    day.finds(&["cart-0"]);
    assert!(day.is_ready());
    let lists = server.asked().into_iter().filter(|asked| asked.is_list("pods")).count();
    assert_eq!(lists, 1, "the watch goes on from where it was");
}

#[tokio::test(start_paused = true)]
async fn says_a_line_of_ten_megabytes() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    let mut large = restarted("large", 1);
    large["metadata"]["annotations"] = json!({"notes": "<".repeat(10 * 1024 * 1024)});
    server.put("pods", large);
    server.put("pods", restarted("cart", 1));
    sleep(SECOND).await;
    day.finds(&["cart-0", "large-0"]);
    day.is_quiet();
}

#[tokio::test(start_paused = true)]
async fn says_a_line_longer_than_can_be_held() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    let mut large = restarted("large", 1);
    large["metadata"]["annotations"] = json!({"notes": "<".repeat(17 * 1024 * 1024)});
    server.put("pods", large);
    server.put("pods", restarted("cart", 1));
    sleep(MINUTE * 5).await;
    // A list passes over it, which a watch can't.
    day.finds(&["cart-0"]);
    assert!(day.is_ready(), "{}", day.readyz());
    day.recovers().await;
    day.finds(&["cart-0", "afterwards-0"]);
}

#[tokio::test(start_paused = true)]
async fn says_words_of_a_later_version_of_the_protocol() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.say("pods", "{\"type\": \"HEARTBEAT\", \"object\": {\"kind\": \"Heartbeat\"}}\n\n");
    server.put("pods", restarted("cart", 1));
    sleep(SECOND).await;
    day.finds(&["cart-0"]);
    assert!(day.is_ready());
    assert_eq!(day.metric("undecodable_total", "pods"), 1);
}

#[tokio::test(start_paused = true)]
async fn says_odd_values_of_a_pod_and_the_rest_counts() {
    let odd_values =
        [json!(-1), json!(1_u64 << 60), json!(1.5), json!("9999-99-99"), json!([{}]), json!({"a": []})];
    let places = [
        "/metadata/labels",
        "/metadata/ownerReferences",
        "/spec",
        "/status/phase",
        "/status/containerStatuses/0/restartCount",
        "/status/containerStatuses/0/state/running/startedAt",
        "/status/containerStatuses/0/lastState/terminated/exitCode",
        "/status/containerStatuses/0/lastState/terminated/finishedAt",
    ];
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    let mut expected = Vec::new();
    for (place, pointer) in places.iter().enumerate() {
        for (which, odd) in odd_values.iter().enumerate() {
            let name = format!("odd-{place}-{which}");
            let mut pod = restarted(&name, 1);
            for (key, value) in [("labels", json!({})), ("ownerReferences", json!([]))] {
                pod["metadata"][key] = value;
            }
            (pod["spec"], pod["status"]["phase"]) = (json!({}), json!("Running"));
            *pod.pointer_mut(pointer).unwrap() = odd.clone();
            server.put("pods", pod);
            expected.push(format!("{name}-0"));
        }
    }
    sleep(SECOND).await;
    day.finds(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    day.is_quiet();
    assert_eq!(day.metric("undecodable_total", "pods"), 0);
}

#[tokio::test(start_paused = true)]
async fn says_nothing_of_what_a_pod_should_have() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.put("pods", json!({"metadata": {"name": "bare", "namespace": "shop", "uid": "u"}}));
    server.put(
        "pods",
        json!({"metadata": {"name": "null", "namespace": "shop", "uid": "v"}, "spec": null, "status": null}),
    );
    let mut odd = restarted("odd", 0);
    let status = &mut odd["status"]["containerStatuses"][0];
    (status["state"], status["lastState"]) = (json!(null), json!({"terminated": null}));
    server.put("pods", odd);
    sleep(SECOND).await;
    day.finds(&[]);
    day.is_quiet();
    assert_eq!(day.metric("undecodable_total", "pods"), 0);
}
