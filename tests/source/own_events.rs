//! What becomes of the program's own Events of an earlier run, which are read before the first list of Pods is
//! judged: there may be very many that look like them, and they may not be had at all.

use finding::{KillId, event_name};
use jiff::Timestamp;
use serde_json::{Value, json};
use support::{
    api_server::{ApiServer, Asked, status},
    behaviour::{Answer, Behaviour},
    pod_dsl::id,
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, Watching, restarted, shown};

/// The Event that was written of the first kill of this Pod in `namespace`.
fn own_event(namespace: &str, pod: &str) -> Value {
    event(namespace, &event_name(pod, &KillId::new(&[namespace, &id(&format!("{pod}-0"))])))
}

fn event(namespace: &str, name: &str) -> Value {
    let reason = finding::EVENT_REASON;
    json!({"metadata": {"namespace": namespace, "name": name}, "reason": reason})
}

/// An API server with ten thousand Events in the namespace `evil` that look like the program's own, and others
/// after it.
fn flooded() -> ApiServer {
    let server = ApiServer::new();
    for number in 0..10_000 {
        server.put("events", event("evil", &format!("forged-{number}")));
    }
    for namespace in ["bank", "shop"] {
        let pod =
            |name: &str| shown(namespace, name, &format!("R(1,{name}-1)+L({name}-0)"), Timestamp::now());
        for name in ["told", "new"] {
            server.put("pods", pod(&format!("{namespace}-{name}")));
        }
        server.put("events", own_event(namespace, &format!("{namespace}-told")));
    }
    server
}

#[tokio::test(start_paused = true)]
async fn very_many_of_one_namespace_hide_nothing_of_another() {
    let server = flooded();
    let day = Watching::begin(&server).await;
    day.finds(&["bank-new-0", "shop-new-0"]);
    assert!(day.is_ready(), "{}", day.readyz());
    let asked: Vec<_> = server.asked().into_iter().filter(Asked::is_of_reported).collect();
    assert!(asked.len() < 250, "only a share of that namespace is read: {} pages", asked.len());
    let namespaces: Vec<_> = asked.iter().filter_map(|asked| asked.namespace.as_deref()).collect();
    assert_eq!(namespaces, ["shop"], "before the Pods of the only namespace after it");
}

#[tokio::test(start_paused = true)]
async fn very_many_of_an_included_namespace_are_its_own_affair() {
    let server = flooded();
    let day = Watching::begin_in(&server, &["evil", "shop"]).await;
    day.finds(&["shop-new-0"]);
    assert!(day.is_ready(), "{}", day.readyz());
}

#[tokio::test(start_paused = true)]
async fn kills_do_not_wait_for_what_cannot_be_had() {
    let refusal = status(500, "InternalError", "etcdserver: no leader");
    for behaviour in [Behaviour::refuses(&refusal), Behaviour::fails(Answer::Never)] {
        let server = ApiServer::new();
        server.put("pods", restarted("cart", 1));
        server.misbehave(behaviour, Asked::is_of_reported);
        let day = Watching::begin(&server).await;
        sleep(MINUTE).await;
        day.finds(&[]);
        assert!(!day.is_ready());
        let reason = "own events in the whole cluster: not yet listed";
        assert!(day.readyz().contains(reason), "{}", day.readyz());

        sleep(MINUTE).await;
        day.finds(&["cart-0"]);
        assert!(day.is_ready(), "{}", day.readyz());
        assert!(day.readyz().contains("own events in the whole cluster: given up"), "{}", day.readyz());
        let said = |line: &&String| line.contains("can't tell which kills were reported before");
        assert_eq!(Watching::logged("WARN").iter().filter(said).count(), 1);
        sleep(HOUR).await;
        assert!(day.metric("watch_errors_total", "own_events") > 0);
        assert_eq!(day.metric("watch_errors_total", "pods"), 0);
        day.recovers().await;
        day.finds(&["cart-0", "afterwards-0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_told_within_two_minutes_is_heeded() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 1));
    server.put("events", own_event("shop", "cart"));
    server.misbehave(Behaviour::fails(Answer::Never), |asked| {
        asked.is_of_reported() && asked.namespace.is_none()
    });
    let day = Watching::begin(&server).await;
    sleep(MINUTE * 2).await;
    day.finds(&[]);
    assert!(day.is_ready(), "{}", day.readyz());
}
