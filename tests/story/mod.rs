//! What a person reads in Slack while an incident goes on. Each story is a snapshot.

mod stage;

use std::{collections::BTreeSet, time::Duration};

use stage::{Act, Story, StoryPod, crash_loop};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// The Pods of a `ReplicaSet`.
fn pods(replica_set: &str, names: impl IntoIterator<Item = String>, limit: &str, tag: &str) -> Vec<StoryPod> {
    let pod = |name: String| StoryPod::new(&format!("{replica_set}-{name}"), limit, tag);
    names.into_iter().map(pod).collect()
}

#[tokio::test(start_paused = true)]
async fn a_deploy_with_a_limit_too_small() {
    let mut story = Story::begin();
    let names = || (1..=20).map(|number| format!("p{number:02}"));
    let mut cart = pods("cart-6c9f7", names(), "64Mi", "1.3");
    // One is 5 seconds early.
    let begins = |pod| if pod == 0 { Duration::ZERO } else { 5 * SECOND };
    let acts = (0..20).flat_map(|pod| crash_loop(pod, begins(pod), 3 * SECOND, 4)).collect();
    story.plays(&mut cart, acts).await;
    story.until(90 * MINUTE).await;

    let told = story.told();
    let told_pods =
        |text: &str| names().filter(|name| text.contains(&format!("`cart-6c9f7-{name}`"))).collect();
    let first: BTreeSet<String> = told_pods(&told[0].text);
    let second = told.iter().skip(1).filter(|message| message.at < told[1].at + 5 * SECOND);
    let second: BTreeSet<String> = second.flat_map(|message| told_pods(&message.text)).collect();
    assert!(told[1].at <= told[0].at + MINUTE && told.len() <= 12);
    assert_eq!(first.union(&second).count(), 20);
    insta::assert_snapshot!(story.reads());
}

#[tokio::test(start_paused = true)]
async fn a_leak_over_eight_hours() {
    let mut story = Story::begin();
    let mut cart = pods("cart-6c9f7", ["aaa", "bbb", "ccc"].map(str::to_owned), "256Mi", "1.3");
    // Each is full after two hours; they were started 40 minutes apart.
    let mut acts = Vec::new();
    for pod in 0..3_u32 {
        let mut begin = pod * 40 * MINUTE;
        while begin + 2 * HOUR < 5 * HOUR {
            acts.push((begin, pod.try_into().unwrap(), Act::Runs));
            begin += 2 * HOUR;
            acts.push((begin, pod.try_into().unwrap(), Act::Killed));
            begin += SECOND;
        }
        acts.push((begin, pod.try_into().unwrap(), Act::Runs));
    }
    story.plays(&mut cart, acts).await;
    // Somebody doubles the limit at five; it takes twice as long.
    let mut raised = pods("cart-7d8b4", ["ddd", "eee", "fff"].map(str::to_owned), "512Mi", "1.3");
    for (old, new) in cart.iter_mut().zip(&mut raised) {
        story.happens(5 * HOUR, new, Act::Runs).await;
        story.happens(5 * HOUR, old, Act::Deleted).await;
    }
    story.until(8 * HOUR).await;
    insta::assert_snapshot!(story.reads());
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_of_one_pod() {
    let mut story = Story::begin();
    let mut cart = pods("cart-6c9f7", ["x2x".to_owned()], "64Mi", "1.3");
    story.plays(&mut cart, crash_loop(0, Duration::ZERO, 4 * SECOND, 24)).await;
    story.until(3 * HOUR).await;
    let of_first_hour = story.told().iter().filter(|message| message.at <= HOUR).count();
    assert!(of_first_hour <= 3, "{of_first_hour}");
    insta::assert_snapshot!(story.reads());
}

#[tokio::test(start_paused = true)]
async fn raised_in_time() {
    let mut story = Story::begin();
    let mut cart = pods("cart-6c9f7", ["x2x".to_owned()], "64Mi", "1.3");
    story.plays(&mut cart, crash_loop(0, Duration::ZERO, 30 * SECOND, 4)).await;
    // Somebody does what the message says: the Deployment starts another Pod.
    let mut raised = pods("cart-7d8b4", ["k9k".to_owned()], "128Mi", "1.3");
    story.happens(6 * MINUTE, &mut raised[0], Act::Runs).await;
    story.happens(6 * MINUTE, &mut cart[0], Act::Deleted).await;
    story.until(3 * HOUR).await;
    insta::assert_snapshot!(story.reads());
}

#[tokio::test(start_paused = true)]
async fn raised_and_killed_again() {
    let mut story = Story::begin();
    let mut cart = pods("cart-6c9f7", ["x2x".to_owned()], "64Mi", "1.3");
    story.plays(&mut cart, crash_loop(0, Duration::ZERO, 2 * MINUTE, 3)).await;
    let mut raised = pods("cart-7d8b4", ["k9k".to_owned()], "128Mi", "1.3");
    story.happens(10 * MINUTE, &mut cart[0], Act::Deleted).await;
    story.plays(&mut raised, crash_loop(0, 10 * MINUTE, 5 * MINUTE, 3)).await;
    story.until(3 * HOUR).await;
    insta::assert_snapshot!(story.reads());
}

#[tokio::test(start_paused = true)]
async fn rolled_back() {
    let mut story = Story::begin();
    let mut cart = pods("cart-6c9f7", ["x2x", "y3y"].map(str::to_owned), "64Mi", "1.3");
    let acts = (0..2).flat_map(|pod| crash_loop(pod, Duration::ZERO, 20 * SECOND, 3)).collect();
    story.plays(&mut cart, acts).await;
    let mut before = pods("cart-5b5b5", ["a1a", "b2b"].map(str::to_owned), "64Mi", "1.2");
    for (old, new) in cart.iter_mut().zip(&mut before) {
        story.happens(20 * MINUTE, new, Act::Runs).await;
        story.happens(20 * MINUTE, old, Act::Deleted).await;
    }
    story.until(3 * HOUR).await;
    insta::assert_snapshot!(story.reads());
}

#[tokio::test(start_paused = true)]
async fn taken_away() {
    let mut story = Story::begin();
    let mut cart = pods("cart-6c9f7", ["x2x".to_owned()], "64Mi", "1.3");
    story.plays(&mut cart, crash_loop(0, Duration::ZERO, 20 * SECOND, 1)).await;
    story.happens(MINUTE, &mut cart[0], Act::Deleted).await;
    story.until(3 * HOUR).await;
    insta::assert_snapshot!(story.reads());
}
