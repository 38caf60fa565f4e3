//! A namespace that takes no Events, or hangs, delays no other.

use std::time::Duration;

use support::{
    api_server::{ApiServer, status},
    behaviour::{Answer, Behaviour},
};

use super::books::{Books, Ends, events, kill};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// 100 kills in a namespace where the API server behaves so, and then 100 elsewhere, one by one, each of
/// which is stored within a second. An hour and a half later the namespace has lost its own, loudly.
async fn delays_no_other(behaviour: Behaviour) {
    let server = ApiServer::new();
    server.misbehave(Behaviour::good().later(SECOND / 10), |_| true);
    server.misbehave(behaviour, |asked| asked.namespace.as_deref() == Some("stuck"));
    let mut books = Books::open(Some(server.client()), None);
    books.send((0..100).map(|number| kill("stuck", number)));
    for number in 100..200 {
        tokio::time::sleep(SECOND / 4).await;
        books.send([kill("shop", number)]);
        tokio::time::sleep(SECOND / 2).await;
        assert_eq!(
            books.ends("events"),
            Ends { delivered: number as u64 - 99, waiting: 100, ..Ends::default() }
        );
    }
    tokio::time::sleep(90 * MINUTE).await;
    let ends = books.close(&[("events", events(&server))]).await[0];
    assert_eq!(ends, Ends { delivered: 100, failed: 100, ..Ends::default() });
}

#[tokio::test(start_paused = true)]
async fn that_refuses_everything_at_once() {
    delays_no_other(Behaviour::refuses(&status(403, "Forbidden", "exceeded quota: count/events=0"))).await;
}

#[tokio::test(start_paused = true)]
async fn whose_webhook_times_out() {
    let message = "Internal error occurred: failed calling webhook \"a.b\": context deadline exceeded";
    delays_no_other(Behaviour::refuses(&status(500, "InternalError", message)).later(10 * SECOND)).await;
}

#[tokio::test(start_paused = true)]
async fn that_hangs() {
    delays_no_other(Behaviour::fails(Answer::Never)).await;
}

#[tokio::test(start_paused = true)]
async fn that_is_asked_for_patience_for() {
    delays_no_other(Behaviour::refuses(&status(429, "TooManyRequests", "later")).and_asks_for(30)).await;
}
