//! What becomes of kills when this machine's clock is not the API server's.

use jiff::{SignedDuration, Timestamp};
use support::api_server::ApiServer;

use super::{Watching, restarted, restarted_at};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn how_old_a_kill_is_counts_by_the_api_servers_clock() {
    let ahead = SignedDuration::from_hours(-2);
    let server = ApiServer::new();
    server.is_ahead(ahead);
    let now = Timestamp::now() + ahead;
    server.put("pods", restarted_at("recent", 1, now - MINUTE * 50));
    server.put("pods", restarted_at("history", 1, now - MINUTE * 60));
    let day = Watching::begin(&server).await;
    day.finds(&["recent-0"]);
    let said = Watching::logged("WARN").concat();
    assert_eq!(said.matches("this machine's clock is").count(), 1, "{said}");
    assert!(said.contains("ahead of the API server's"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_small_difference_is_not_told() {
    let server = ApiServer::new();
    server.is_ahead(SignedDuration::from_secs(30));
    server.put("pods", restarted("cart", 1));
    let day = Watching::begin(&server).await;
    day.finds(&["cart-0"]);
    day.is_quiet();
}
