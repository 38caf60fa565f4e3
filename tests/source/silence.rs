//! A server that freezes: connections stay, and nothing more is said.

use support::{
    api_server::{ApiServer, Asked, status},
    behaviour::{Answer, Behaviour},
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, SECOND, Watching, restarted};

#[track_caller]
fn has_noticed(day: &Watching) {
    assert!(day.readyz().contains("silent"), "{}", day.readyz());
}

fn is_watch(asked: &Asked) -> bool {
    asked.query.contains_key("watch")
}

#[tokio::test(start_paused = true)]
async fn freezes_while_it_is_watched() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.freeze_watches();
    server.misbehave(Behaviour::fails(Answer::Never), |_| true);
    sleep(MINUTE).await;
    has_noticed(&day);
    sleep(MINUTE).await;
    assert!(!day.is_ready());
    server.put("pods", restarted("cart", 1));
    server.put("pods", restarted("cart", 2));
    sleep(HOUR).await;
    day.finds(&[]);
    day.recovers().await;
    day.finds(&["cart-0", "cart-1", "afterwards-0"]);
}

#[tokio::test(start_paused = true)]
async fn freezes_in_the_middle_of_a_line() {
    let server = ApiServer::new();
    server.misbehave_times(1, Behaviour::loses(Answer::FreezesAfter(150)), |asked| asked.is_watch("pods"));
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    sleep(SECOND * 50).await;
    has_noticed(&day);
    sleep(SECOND * 10).await;
    day.finds(&["cart-0"]);
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn freezes_right_after_a_line() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    sleep(SECOND * 25).await;
    server.put("pods", restarted("cart", 1));
    server.freeze_watches();
    sleep(MINUTE).await;
    has_noticed(&day);
    day.recovers().await;
    day.finds(&["cart-0", "afterwards-0"]);
}

#[tokio::test(start_paused = true)]
async fn freezes_before_the_head_of_an_answer() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 1));
    server.misbehave(Behaviour::fails(Answer::Never), |_| true);
    let day = Watching::begin(&server).await;
    sleep(SECOND * 50).await;
    has_noticed(&day);
    sleep(HOUR).await;
    assert!(!day.is_ready());
    day.recovers().await;
    day.finds(&["cart-0", "afterwards-0"]);
}

#[tokio::test(start_paused = true)]
async fn freezes_in_the_middle_of_a_list() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 1));
    server.misbehave(Behaviour::loses(Answer::FreezesAfter(150)), |asked| asked.is_list("pods"));
    let day = Watching::begin(&server).await;
    sleep(SECOND * 50).await;
    has_noticed(&day);
    sleep(HOUR).await;
    assert!(!day.is_ready());
    day.finds(&[]);
    day.recovers().await;
    day.finds(&["cart-0", "afterwards-0"]);
}

#[tokio::test(start_paused = true)]
async fn opens_every_watch_and_says_nothing_more() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.freeze_watches();
    server.misbehave(Behaviour::loses(Answer::FreezesAfter(0)), is_watch);
    sleep(MINUTE).await;
    has_noticed(&day);
    for _ in 0..60 {
        sleep(MINUTE).await;
        has_noticed(&day);
    }
    assert!(!day.is_ready());
    server.put("pods", restarted("cart", 1));
    server.behave();
    sleep(MINUTE * 3).await;
    assert!(day.is_ready());
    day.finds(&["cart-0"]);
}

#[tokio::test(start_paused = true)]
async fn takes_a_minute_to_say_that_it_ran_out_of_time() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 1));
    server.misbehave(
        Behaviour::refuses(&status(504, "Timeout", "Timeout: request did not complete within 60s"))
            .later(MINUTE),
        |_| true,
    );
    let day = Watching::begin(&server).await;
    sleep(HOUR).await;
    assert!(!day.is_ready());
    day.finds(&[]);
    day.recovers().await;
    day.finds(&["cart-0", "afterwards-0"]);
}
