//! Connections that are refused or break.

use serde_json::json;
use support::{
    api_server::ApiServer,
    behaviour::{Answer, Behaviour},
    sockets::FakeCluster,
};
use tokio::time::sleep;

use super::{HOUR, MINUTE, SECOND, Watching, restarted};

#[tokio::test(start_paused = true)]
async fn cannot_be_reached_for_hours() {
    let server = ApiServer::new();
    let day = Watching::begin(&server).await;
    server.misbehave(Behaviour::fails(Answer::Breaks), |_| true);
    server.drop_watches();
    sleep(MINUTE * 2).await;
    assert!(!day.is_ready());
    server.put("pods", restarted("cart", 1));
    server.put("pods", restarted("cart", 2));
    server.put("pods", restarted("cart", 3));
    sleep(HOUR * 5).await;
    day.finds(&[]);
    day.has_slowed_down("pods");
    day.has_slowed_down("events");
    let said = Watching::logged("WARN").len();
    assert!((2..=3 * 31).contains(&said), "said once in ten minutes for each watch: {said}");
    day.recovers().await;
    day.finds(&["afterwards-0", "cart-0", "cart-1", "cart-2"]);
    let lists = server.asked().into_iter().filter(|asked| asked.is_list("pods")).count();
    assert_eq!(lists, 1, "the watch went on from where it was");
}

#[tokio::test(start_paused = true)]
async fn cannot_be_reached_at_the_start() {
    let server = ApiServer::new();
    server.misbehave(Behaviour::fails(Answer::Breaks), |_| true);
    server.put("pods", restarted("cart", 1));
    let day = Watching::begin(&server).await;
    sleep(HOUR).await;
    assert!(!day.is_ready());
    day.recovers().await;
    day.finds(&["afterwards-0", "cart-0"]);
}

#[tokio::test(start_paused = true)]
async fn breaks_in_the_middle_of_a_line() {
    let server = ApiServer::new();
    server.misbehave_times(3, Behaviour::loses(Answer::BreaksAfter(300)), |asked| asked.is_watch("pods"));
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    server.put("pods", restarted("cart", 2));
    sleep(MINUTE).await;
    day.finds(&["cart-0", "cart-1"]);
    let lists = server.asked().into_iter().filter(|asked| asked.is_list("pods")).count();
    assert_eq!(lists, 1, "the watch goes on from where it was");
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn breaks_every_watch_after_each_line() {
    let server = ApiServer::new();
    let line = json!({"type": "ADDED", "object": restarted("cart", 1)}).to_string();
    server.misbehave(Behaviour::loses(Answer::BreaksAfter(line.len() + 100)), |asked| asked.is_watch("pods"));
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    server.put("pods", restarted("cart", 2));
    sleep(SECOND * 10).await;
    day.finds(&["cart-0", "cart-1"]);
    for count in 3..=9 {
        sleep(MINUTE * 3).await;
        server.put("pods", restarted("cart", count));
    }
    sleep(MINUTE * 3).await;
    let expected: Vec<_> = (0..9).map(|count| format!("cart-{count}")).collect();
    day.finds(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn breaks_every_watch_before_the_end_of_the_first_line() {
    let server = ApiServer::new();
    server.misbehave(Behaviour::loses(Answer::BreaksAfter(300)), |asked| asked.is_watch("pods"));
    let day = Watching::begin(&server).await;
    for count in 1..=5 {
        server.put("pods", restarted("cart", count));
        sleep(MINUTE * 5).await;
    }
    day.finds(&["cart-0", "cart-1", "cart-2", "cart-3", "cart-4"]);
    day.recovers().await;
}

#[tokio::test(start_paused = true)]
async fn breaks_in_the_middle_of_a_list() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 1));
    server.misbehave_times(5, Behaviour::loses(Answer::BreaksAfter(300)), |asked| asked.is_list("pods"));
    let day = Watching::begin(&server).await;
    sleep(MINUTE * 2).await;
    day.finds(&["cart-0"]);
    day.recovers().await;
}

#[tokio::test]
async fn closes_its_sockets_and_opens_them_again() {
    let cluster = FakeCluster::new();
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({}));
    let program = cluster.program().await;
    cluster.server.hang_up().await;
    cluster.server.put("pods", restarted("cart", 1));
    cluster.server.listen_on(address, None).await;
    cluster.finds(&program, &["cart-0"]).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn breaks_off_within_a_chunk() {
    let cluster = FakeCluster::new();
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({}));
    cluster
        .server
        .misbehave_times(1, Behaviour::loses(Answer::BreaksAfter(300)), |asked| asked.is_watch("pods"));
    cluster
        .server
        .misbehave_times(1, Behaviour::loses(Answer::BreaksAfter(30)), |asked| asked.is_list("pods"));
    let program = cluster.program().await;
    cluster.server.put("pods", restarted("cart", 1));
    cluster.finds(&program, &["cart-0"]).await;
    assert_eq!(program.stop().await, Some(0));
}
