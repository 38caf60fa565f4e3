//! Rights that are lost and come back: the program is ready as soon as it watches again.

use support::{
    api_server::{ApiServer, Asked, status},
    behaviour::Behaviour,
};
use tokio::time::{Instant, sleep};

use super::{MINUTE, SECOND, Watching, restarted};

const NAMESPACES: [&str; 3] = ["shop", "bank", "zoo"];

/// How long a watch takes to prove itself, and the second between two looks.
const PROOF: u64 = 6;

/// Takes rights away for so many seconds. Returns how many seconds the program was not ready meanwhile,
/// and how many after it watched again.
async fn lose(
    server: &ApiServer,
    day: &Watching,
    seconds: u64,
    right: impl Fn(&Asked) -> bool + Copy + Send + 'static,
) -> (u64, u64) {
    server.misbehave(Behaviour::refuses(&status(403, "Forbidden", "no")), right);
    server.drop_watches();
    let (mut without, mut again) = (0, 0);
    for _ in 0..seconds {
        sleep(SECOND).await;
        without += u64::from(!day.is_ready());
    }
    server.behave();
    let regained = Instant::now();
    for _ in 0..120 {
        let asked = server.asked().into_iter().filter(|asked| asked.watches() && asked.at > regained);
        let watched: Vec<_> = asked.filter(right).filter(|asked| !asked.is_of_nodes()).collect();
        let watches_again =
            ["pods", "events"].iter().all(|of| watched.iter().any(|asked| asked.resource == *of));
        again += u64::from(watches_again && !day.is_ready());
        sleep(SECOND).await;
    }
    assert!(day.is_ready(), "{}", day.readyz());
    assert!(!day.readyz().contains("no right"), "{}", day.readyz());
    (without, again)
}

#[tokio::test(start_paused = true)]
async fn one_namespace_in_three_is_forbidden_for_a_while() {
    for seconds in [0, 10, 40, 200] {
        let server = ApiServer::new();
        let day = Watching::begin_in(&server, &NAMESPACES).await;
        let bank = |asked: &Asked| asked.namespace.as_deref() == Some("bank");
        assert_eq!(lose(&server, &day, seconds, bank).await, (0, 0), "{seconds} s");
        server.put("pods", restarted("cart", 1));
        sleep(SECOND).await;
        day.finds(&["cart-0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_forbidden_for_a_while() {
    for namespaces in [&[][..], &NAMESPACES[..1], &NAMESPACES] {
        for seconds in [0, 10, 40, 200] {
            let server = ApiServer::new();
            let day = Watching::begin_in(&server, namespaces).await;
            let (without, again) = lose(&server, &day, seconds, |_| true).await;
            assert_eq!(
                without,
                seconds.saturating_sub(60),
                "{namespaces:?}: ready for a minute of {seconds} s"
            );
            assert!(
                again <= PROOF,
                "{namespaces:?} for {seconds} s: not ready for {again} s though it watches"
            );
            server.put("pods", restarted("cart", 1));
            sleep(SECOND).await;
            day.finds(&["cart-0"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_right_to_pods_it_is_not_ready() {
    for namespaces in [&[][..], &NAMESPACES[..1], &NAMESPACES] {
        let server = ApiServer::new();
        server
            .misbehave(Behaviour::refuses(&status(403, "Forbidden", "no")), |asked| asked.resource == "pods");
        let day = Watching::begin_in(&server, namespaces).await;
        sleep(MINUTE * 2).await;
        assert!(!day.is_ready(), "{namespaces:?}: {}", day.readyz());
        day.recovers().await;
        assert!(day.is_ready(), "{namespaces:?}: {}", day.readyz());
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_was_forbidden_from_the_start_is_listed_once_it_may_be() {
    let server = ApiServer::new();
    let shop = |asked: &Asked| asked.namespace.as_deref() == Some("shop");
    server.misbehave(Behaviour::refuses(&status(403, "Forbidden", "no")), shop);
    server.put("pods", restarted("cart", 1));
    let day = Watching::begin_in(&server, &NAMESPACES).await;
    for minute in 0..4 {
        if minute == 2 {
            server.behave();
        }
        for _ in 0..60 {
            sleep(SECOND).await;
            assert!(day.is_ready(), "{}", day.readyz());
        }
    }
    day.finds(&["cart-0"]);
    assert_eq!(day.readyz(), "ok");
    sleep(MINUTE).await;
}
