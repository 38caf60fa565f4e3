//! A crash loop on the defaults of Slack: a message in the first seconds, the next within five minutes, and one an
//! hour after that.

use std::{collections::BTreeSet, time::Duration};

use finding::KillId;
use support::slack::Slack;
use tokio::time::sleep;

use super::books::{Books, kill};

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn a_crash_loop_is_two_messages_at_first_and_one_an_hour() {
    let slack = Slack::good().await;
    let mut books = Books::open(None, Some((&slack, "")));
    // A kill every 5 minutes, for two and a half hours.
    for count in 0..30_u32 {
        let mut again = kill("shop", 0);
        again.id = KillId::new(&[&count.to_string()]);
        books.send([again]);
        sleep(5 * MINUTE).await;
    }
    sleep(150 * MINUTE).await;
    let asked = slack.messages();
    let seconds: Vec<_> = asked.iter().map(|asked| asked.at.as_secs()).collect();
    for (second, expected) in seconds.iter().zip([2, 302, 3902, 7502, 11_102]) {
        assert!((expected..expected + 5).contains(second), "{seconds:?}");
    }
    // The first two tell of one kill, the others of those of an hour and of the rest.
    let counts = asked.iter().map(|asked| numbers(&asked.text));
    for (told, count) in counts.zip([None, None, Some(12), Some(12), Some(4)]) {
        assert!(count.is_none_or(|count| told.contains(&count)), "{told:?} instead of {count:?}");
    }
    assert_eq!(asked.len(), 5, "{seconds:?}");
    assert_eq!(books.ends("team").delivered, 30);
}

/// Two workloads whose kills come at the same times share messages, and each has its own count.
#[tokio::test(start_paused = true)]
async fn workloads_are_counted_apart() {
    let slack = Slack::good().await;
    let mut books = Books::open(None, Some((&slack, "")));
    for count in 0..20_u32 {
        for (number, every) in [(1, 1), (2, 4)] {
            if count % every == 0 {
                let mut again = kill("shop", number);
                again.id = KillId::new(&[&number.to_string(), &count.to_string()]);
                books.send([again]);
            }
        }
        sleep(MINUTE).await;
    }
    sleep(70 * MINUTE).await;
    let asked = slack.messages();
    assert_eq!(asked.len(), 3);
    for (asked, counts) in asked[1..].iter().zip([[5, 1], [14, 3]]) {
        assert_eq!(asked.pods, ["killed-0001", "killed-0002"].map(str::to_owned).into());
        assert!(numbers(&asked.text).is_superset(&counts.into()), "{}", asked.text);
    }
    assert_eq!(books.ends("team").delivered, 25);
}

/// The numbers that a text has as words of their own.
fn numbers(text: &str) -> BTreeSet<u32> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// A deploy whose limit is too small for each of its 20 Pods, all of which crash for an hour.
#[tokio::test(start_paused = true)]
async fn a_deploy_that_crashes_is_told_in_few_messages_of_which_the_second_names_every_other_pod() {
    let slack = Slack::good().await;
    let mut books = Books::open(None, Some((&slack, "")));
    let crash = |pod: usize, count: usize| {
        let mut again = kill("shop", pod);
        again.id = KillId::new(&[&pod.to_string(), &count.to_string()]);
        again.pod.uid = pod.to_string();
        again.pod.workload.name = "cart".to_owned();
        again
    };
    books.send([crash(0, 0)]);
    sleep(Duration::from_secs(5)).await;
    for count in 1..=13 {
        books.send((0..20).map(|pod| crash(pod, count)));
        sleep(5 * MINUTE).await;
    }
    sleep(60 * MINUTE).await;
    let asked = slack.messages();
    assert_eq!(asked[0].pods.len(), 1);
    let second: BTreeSet<_> =
        asked[1..].iter().filter(|it| it.at < MINUTE).flat_map(|it| it.pods.clone()).collect();
    assert_eq!(second.len(), 20, "{second:?}");
    let first_hour = asked.iter().filter(|asked| asked.at < 60 * MINUTE).count();
    assert!(first_hour <= 12, "{first_hour}");
    assert_eq!(books.ends("team").delivered, 1 + 13 * 20);
}
