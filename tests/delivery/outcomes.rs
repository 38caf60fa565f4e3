//! A thousand findings, and whoever should store them misbehaves: in one way at a time, and in all ways
//! at random.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    api_server::{self, ApiServer, refuses, terminating},
    books::{Books, Ends, kill},
    manner::{Answer, Manner},
    slack::{self, Slack},
};

const FINDINGS: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);
const GATHERS_NOTHING: &str = "group_interval: 0s";

/// What becomes of the findings that meet a misbehaviour.
#[derive(Clone, Copy, Debug)]
enum End {
    Delivered,
    /// Stored once, and counted as a duplicate.
    Duplicate,
    Failed,
}

/// Every third finding meets the misbehaviour, its first two attempts at least.
const MEET_IT: u64 = 334;

#[tokio::test(start_paused = true)]
async fn the_api_server_misbehaves_to_every_third_finding() {
    let forbidden = "events is forbidden: User \"system:serviceaccount:oom:oom\" cannot create resource";
    let webhook = "Internal error occurred: failed calling webhook \"a.b\": context deadline exceeded";
    let denied = "admission webhook \"a.b\" denied the request: no";
    for (name, manner, end) in [
        ("is slow", api_server::good().later(20 * SECOND), End::Delivered),
        ("fails", refuses(500, "InternalError", "etcdserver: leader changed"), End::Delivered),
        ("is starting", Manner::refuses(503, "apiserver not ready"), End::Delivered),
        ("is busy", Manner::refuses(429, "Too many requests, please try again later."), End::Delivered),
        ("asks", refuses(429, "TooManyRequests", "later").and_asks_for(17), End::Delivered),
        ("is in conflict", refuses(409, "Conflict", "the object has been modified"), End::Delivered),
        ("refuses the credentials", refuses(401, "Unauthorized", "Unauthorized"), End::Delivered),
        ("lacks a role", refuses(403, "Forbidden", forbidden), End::Delivered),
        ("has a webhook that denies", refuses(400, "", denied), End::Delivered),
        ("has a webhook that fails", refuses(500, "InternalError", webhook), End::Delivered),
        ("has a proxy before it", Manner::refuses(404, "<html>not found</html>"), End::Delivered),
        ("breaks the connection", Manner::fails(Answer::Breaks), End::Delivered),
        ("never answers", Manner::fails(Answer::NeverComes), End::Delivered),
        ("breaks off after its head", Manner::loses(Answer::BreaksOff), End::Delivered),
        ("stores and breaks the connection", Manner::loses(Answer::Breaks), End::Duplicate),
        ("stores and never answers", Manner::loses(Answer::NeverComes), End::Duplicate),
        ("stores and answers too late", api_server::good().later(40 * SECOND), End::Delivered),
        ("stores and fails", Manner { stores: true, ..refuses(504, "Timeout", "Timeout") }, End::Duplicate),
        ("has no such namespace", refuses(404, "NotFound", "namespaces \"shop\" not found"), End::Failed),
        ("deletes the namespace", terminating(), End::Failed),
        ("finds it invalid", refuses(422, "Invalid", "metadata.name: Invalid value"), End::Failed),
    ] {
        let server = ApiServer::new(move |creation| {
            let number: usize = creation.pod.rsplit('-').next().unwrap().parse().unwrap();
            if number.is_multiple_of(3) && creation.attempts < 2 {
                manner.clone()
            } else {
                api_server::good()
            }
        });
        let mut books = Books::open(Some(server.client()), None);
        books.send((0..FINDINGS).map(|number| kill("shop", number)));
        books.settle("events").await;
        let ends = books.close(&[("events", server.asked())]).await[0];
        let (all, rest) = (FINDINGS as u64, FINDINGS as u64 - MEET_IT);
        let expected = match end {
            End::Delivered => Ends { delivered: all, ..Ends::default() },
            End::Duplicate => Ends { delivered: rest, duplicate: MEET_IT, ..Ends::default() },
            End::Failed => Ends { delivered: rest, failed: MEET_IT, ..Ends::default() },
        };
        assert_eq!(ends, expected, "an API server that {name}");
        assert_eq!(server.events().len() as u64, all - ends.failed, "an API server that {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn slack_misbehaves_to_a_few_messages() {
    let archived = Manner::refuses(410, "channel_is_archived");
    for (name, manner, end) in [
        ("is slow", slack::good().later(5 * SECOND), End::Delivered),
        ("fails", Manner::refuses(500, "rollup_error"), End::Delivered),
        ("has a broken proxy before it", Manner::refuses(502, "<html>bad gateway</html>"), End::Delivered),
        ("asks", Manner::refuses(429, "rate_limited").and_asks_for(30), End::Delivered),
        ("asks without saying how long", Manner::refuses(429, "rate_limited"), End::Delivered),
        ("never answers", Manner::fails(Answer::NeverComes), End::Delivered),
        ("breaks the connection", Manner::fails(Answer::Breaks), End::Delivered),
        ("breaks it before it has read all", Manner::fails(Answer::BreaksUnread), End::Delivered),
        ("stores and never answers", Manner::loses(Answer::NeverComes), End::Duplicate),
        ("stores and breaks the connection", Manner::loses(Answer::Breaks), End::Duplicate),
        ("stores and breaks off", Manner::loses(Answer::BreaksOff), End::Duplicate),
        ("finds the channel archived", archived, End::Failed),
    ] {
        let slack = Slack::listen(
            move |number| {
                if [1, 2, 5].contains(&number) { manner.clone() } else { slack::good() }
            },
        );
        let slack = slack.await;
        let mut books = Books::open(None, Some((&slack, GATHERS_NOTHING)));
        books.send((0..FINDINGS).map(|number| kill("shop", number)));
        books.settle("team").await;
        let asked = slack.asked();
        let ends = books.close(&[("team", asked.clone())]).await[0];
        let doubled =
            asked.iter().map(|asked| if asked.stored { asked.pods.len() } else { 0 }).sum::<usize>();
        assert_eq!(ends.delivered + ends.failed, FINDINGS as u64, "a Slack that {name}: {ends:?}");
        match end {
            End::Delivered => assert_eq!((ends.failed, doubled), (0, FINDINGS), "a Slack that {name}"),
            End::Duplicate => assert!(ends.failed == 0 && doubled > FINDINGS, "a Slack that {name}"),
            End::Failed => assert!(ends.failed > 0, "a Slack that {name}"),
        }
    }
}

/// What an API server does on its worst days, and a good answer as often.
fn any_manner_of_an_api_server(random: &mut fastrand::Rng) -> Manner {
    let seconds = random.u32(1..60);
    let manner = match random.u8(0..28) {
        0 | 1 => refuses(500, "InternalError", "etcdserver: leader changed"),
        2 => refuses(429, "TooManyRequests", "later").and_asks_for(seconds),
        3 => refuses(409, "Conflict", "the object has been modified"),
        4 => refuses(403, "Forbidden", "admission webhook \"a.b\" denied the request: no"),
        5 => refuses(404, "NotFound", "namespaces \"shop\" not found"),
        6 => terminating(),
        7 => refuses(422, "Invalid", "metadata.name: Invalid value"),
        8 => Manner::fails(Answer::NeverComes),
        9 => Manner::fails(Answer::Breaks),
        10 => Manner::loses(Answer::NeverComes),
        11 => Manner::loses(Answer::Breaks),
        12 => Manner::loses(Answer::BreaksOff),
        13 => Manner { stores: true, ..refuses(504, "Timeout", "Timeout") },
        14..18 => api_server::good().later(Duration::from_secs(seconds.into())),
        _ => api_server::good(),
    };
    if random.bool() { manner.later(Duration::from_millis(random.u64(0..3000))) } else { manner }
}

fn any_manner_of_slack(random: &mut fastrand::Rng) -> Manner {
    let seconds = random.u32(1..60);
    match random.u8(0..24) {
        0 => Manner::refuses(500, "rollup_error"),
        1 => Manner::refuses(429, "rate_limited").and_asks_for(seconds),
        2 => Manner::refuses(410, "channel_is_archived"),
        3 => Manner::refuses(400, "invalid_blocks"),
        4 => Manner::fails(Answer::NeverComes),
        5 => Manner::fails(Answer::Breaks),
        6 => Manner::fails(Answer::BreaksUnread),
        7 => Manner::loses(Answer::NeverComes),
        8 => Manner::loses(Answer::Breaks),
        9 => Manner::loses(Answer::BreaksOff),
        10..14 => slack::good().later(Duration::from_millis(random.u64(0..9000))),
        _ => slack::good(),
    }
}

#[tokio::test(start_paused = true)]
async fn both_misbehave_at_random() {
    for seed in 0..5 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut of_server, mut of_slack) = (random.fork(), random.fork());
        let server = ApiServer::new(move |_| any_manner_of_an_api_server(&mut of_server));
        let slack = Slack::listen(move |_| any_manner_of_slack(&mut of_slack)).await;
        let mut books = Books::open(Some(server.client()), Some((&slack, GATHERS_NOTHING)));
        let mut sent = 0;
        while sent < FINDINGS {
            let until = FINDINGS.min(sent + random.usize(1..300));
            books.send((sent..until).map(|number| kill(&format!("shop-{}", number % 7), number)));
            sent = until;
            sleep(Duration::from_millis(random.u64(0..20_000))).await;
        }
        books.settle("events").await;
        books.settle("team").await;
        let ends = books.close(&[("events", server.asked()), ("team", slack.asked())]).await;
        assert_eq!(server.events().len(), server.asked().iter().filter(|asked| asked.stored).count());
        assert!(ends.iter().all(|ends| ends.delivered > 0 && ends.failed > 0), "{ends:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slack_hangs_for_five_minutes_and_no_event_is_late() {
    const HANGS_FOR: Duration = Duration::from_mins(5);
    let begun = Instant::now();
    let server = ApiServer::new(|_| api_server::good().later(SECOND / 10));
    let hangs =
        move |_| if begun.elapsed() < HANGS_FOR { Manner::fails(Answer::NeverComes) } else { slack::good() };
    let slack = Slack::listen(hangs).await;
    let mut books = Books::open(Some(server.client()), Some((&slack, GATHERS_NOTHING)));
    for number in 0..FINDINGS {
        books.send([kill("shop", number)]);
        sleep(SECOND / 2).await;
        assert_eq!(server.events().len(), number + 1, "an Event came late");
    }
    books.settle("team").await;
    let all = Ends { delivered: FINDINGS as u64, ..Ends::default() };
    assert_eq!(books.close(&[("events", server.asked()), ("team", slack.asked())]).await, [all, all]);
}
