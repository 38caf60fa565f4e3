//! A thousand findings, and whoever should store them misbehaves: in one way at a time, and in all ways
//! at random.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use support::{
    api_server::{ApiServer, status},
    behaviour::{Answer, Behaviour},
    slack::Slack,
};
use tokio::time::{Instant, sleep};

use super::books::{Books, Ends, events, kill};

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
    for (name, behaviour, end) in [
        ("is slow", Behaviour::good().later(20 * SECOND), End::Delivered),
        ("fails", refuses(500, "InternalError", "etcdserver: leader changed"), End::Delivered),
        ("is starting", Behaviour::says(503, "apiserver not ready"), End::Delivered),
        ("is busy", Behaviour::says(429, "Too many requests, please try again later."), End::Delivered),
        ("asks", refuses(429, "TooManyRequests", "later").and_asks_for(17), End::Delivered),
        ("is in conflict", refuses(409, "Conflict", "the object has been modified"), End::Delivered),
        ("refuses the credentials", refuses(401, "Unauthorized", "Unauthorized"), End::Delivered),
        ("lacks a role", refuses(403, "Forbidden", forbidden), End::Delivered),
        ("has a webhook that denies", refuses(400, "", denied), End::Delivered),
        ("has a webhook that fails", refuses(500, "InternalError", webhook), End::Delivered),
        ("has a proxy before it", Behaviour::says(404, "<html>not found</html>"), End::Delivered),
        ("breaks the connection", Behaviour::fails(Answer::Breaks), End::Delivered),
        ("never answers", Behaviour::fails(Answer::Never), End::Delivered),
        ("breaks off after its head", Behaviour::loses(Answer::BreaksAfter(1)), End::Delivered),
        ("stores and breaks the connection", Behaviour::loses(Answer::Breaks), End::Duplicate),
        ("stores and never answers", Behaviour::loses(Answer::Never), End::Duplicate),
        ("stores and answers too late", Behaviour::good().later(40 * SECOND), End::Delivered),
        ("stores and fails", Behaviour { acts: true, ..refuses(504, "Timeout", "Timeout") }, End::Duplicate),
        ("has no such namespace", refuses(404, "NotFound", "namespaces \"shop\" not found"), End::Failed),
        ("deletes the namespace", terminating(), End::Failed),
        ("finds it invalid", refuses(422, "Invalid", "metadata.name: Invalid value"), End::Failed),
    ] {
        let server = ApiServer::new();
        let mut attempts = BTreeMap::<usize, u32>::new();
        server.script(move |asked| {
            let number = asked.pod().rsplit('-').next().unwrap().parse().unwrap();
            let attempts = attempts.entry(number).or_default();
            *attempts += 1;
            (number.is_multiple_of(3) && *attempts <= 2).then(|| behaviour.clone())
        });
        let mut books = Books::open(Some(server.client()), None);
        books.send((0..FINDINGS).map(|number| kill("shop", number)));
        books.settle("events").await;
        let ends = books.close(&[("events", events(&server))]).await[0];
        let (all, rest) = (FINDINGS as u64, FINDINGS as u64 - MEET_IT);
        let expected = match end {
            End::Delivered => Ends { delivered: all, ..Ends::default() },
            End::Duplicate => Ends { delivered: rest, duplicate: MEET_IT, ..Ends::default() },
            End::Failed => Ends { delivered: rest, failed: MEET_IT, ..Ends::default() },
        };
        assert_eq!(ends, expected, "an API server that {name}");
        assert_eq!(server.objects("events").len() as u64, all - ends.failed, "an API server that {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn slack_misbehaves_to_a_few_messages() {
    let archived = Behaviour::says(410, "channel_is_archived");
    for (name, behaviour, end) in [
        ("is slow", Behaviour::good().later(5 * SECOND), End::Delivered),
        ("fails", Behaviour::says(500, "rollup_error"), End::Delivered),
        ("has a broken proxy before it", Behaviour::says(502, "<html>bad gateway</html>"), End::Delivered),
        ("asks", Behaviour::says(429, "rate_limited").and_asks_for(30), End::Delivered),
        ("asks without saying how long", Behaviour::says(429, "rate_limited"), End::Delivered),
        ("never answers", Behaviour::fails(Answer::Never), End::Delivered),
        ("breaks the connection", Behaviour::fails(Answer::Breaks), End::Delivered),
        ("breaks it before it has read all", Behaviour::fails(Answer::BreaksUnread), End::Delivered),
        ("stores and never answers", Behaviour::loses(Answer::Never), End::Duplicate),
        ("stores and breaks the connection", Behaviour::loses(Answer::Breaks), End::Duplicate),
        ("stores and breaks off", Behaviour::loses(Answer::BreaksAfter(1)), End::Duplicate),
        ("finds the channel archived", archived, End::Failed),
    ] {
        let slack =
            Slack::listen(
                move |number| {
                    if [1, 2, 5].contains(&number) { behaviour.clone() } else { Behaviour::good() }
                },
            );
        let slack = slack.await;
        let mut books = Books::open(None, Some((&slack, GATHERS_NOTHING)));
        books.send((0..FINDINGS).map(|number| kill("shop", number)));
        books.settle("team").await;
        let asked = slack.messages();
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

fn refuses(code: u16, reason: &str, message: &str) -> Behaviour {
    Behaviour::refuses(&status(code, reason, message))
}

/// The namespace is being deleted.
fn terminating() -> Behaviour {
    let mut status = status(403, "Forbidden", "unable to create new content in a namespace being terminated");
    status["details"] = json!({"causes": [{"reason": "NamespaceTerminating"}]});
    Behaviour::refuses(&status)
}

/// What an API server does on its worst days, and a good answer as often.
fn any_behaviour_of_the_api_server(random: &mut fastrand::Rng) -> Behaviour {
    let seconds = random.u32(1..60);
    let behaviour = match random.u8(0..28) {
        0 | 1 => refuses(500, "InternalError", "etcdserver: leader changed"),
        2 => refuses(429, "TooManyRequests", "later").and_asks_for(seconds),
        3 => refuses(409, "Conflict", "the object has been modified"),
        4 => refuses(403, "Forbidden", "admission webhook \"a.b\" denied the request: no"),
        5 => refuses(404, "NotFound", "namespaces \"shop\" not found"),
        6 => terminating(),
        7 => refuses(422, "Invalid", "metadata.name: Invalid value"),
        8 => Behaviour::fails(Answer::Never),
        9 => Behaviour::fails(Answer::Breaks),
        10 => Behaviour::loses(Answer::Never),
        11 => Behaviour::loses(Answer::Breaks),
        12 => Behaviour::loses(Answer::BreaksAfter(1)),
        13 => Behaviour { acts: true, ..refuses(504, "Timeout", "Timeout") },
        14..18 => Behaviour::good().later(Duration::from_secs(seconds.into())),
        _ => Behaviour::good(),
    };
    if random.bool() { behaviour.later(Duration::from_millis(random.u64(0..3000))) } else { behaviour }
}

fn any_behaviour_of_slack(random: &mut fastrand::Rng) -> Behaviour {
    let seconds = random.u32(1..60);
    match random.u8(0..24) {
        0 => Behaviour::says(500, "rollup_error"),
        1 => Behaviour::says(429, "rate_limited").and_asks_for(seconds),
        2 => Behaviour::says(410, "channel_is_archived"),
        3 => Behaviour::says(400, "invalid_blocks"),
        4 => Behaviour::fails(Answer::Never),
        5 => Behaviour::fails(Answer::Breaks),
        6 => Behaviour::fails(Answer::BreaksUnread),
        7 => Behaviour::loses(Answer::Never),
        8 => Behaviour::loses(Answer::Breaks),
        9 => Behaviour::loses(Answer::BreaksAfter(1)),
        10..14 => Behaviour::good().later(Duration::from_millis(random.u64(0..9000))),
        _ => Behaviour::good(),
    }
}

#[tokio::test(start_paused = true)]
async fn both_misbehave_at_random() {
    for seed in 0..5 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut of_server, mut of_slack) = (random.fork(), random.fork());
        let server = ApiServer::new();
        server.script(move |_| Some(any_behaviour_of_the_api_server(&mut of_server)));
        let slack = Slack::listen(move |_| any_behaviour_of_slack(&mut of_slack)).await;
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
        let ends = books.close(&[("events", events(&server)), ("team", slack.messages())]).await;
        assert_eq!(
            server.objects("events").len(),
            server.asked().iter().filter(|asked| asked.stored).count()
        );
        assert!(ends.iter().all(|ends| ends.delivered > 0 && ends.failed > 0), "{ends:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slack_hangs_for_five_minutes_and_no_event_is_late() {
    const HANGS_FOR: Duration = Duration::from_mins(5);
    let begun = Instant::now();
    let server = ApiServer::new();
    server.misbehave(Behaviour::good().later(SECOND / 10), |_| true);
    let hangs = move |_| {
        if begun.elapsed() < HANGS_FOR { Behaviour::fails(Answer::Never) } else { Behaviour::good() }
    };
    let slack = Slack::listen(hangs).await;
    let mut books = Books::open(Some(server.client()), Some((&slack, GATHERS_NOTHING)));
    for number in 0..FINDINGS {
        books.send([kill("shop", number)]);
        sleep(SECOND / 2).await;
        assert_eq!(server.objects("events").len(), number + 1, "an Event came late");
    }
    books.settle("team").await;
    let all = Ends { delivered: FINDINGS as u64, ..Ends::default() };
    assert_eq!(books.close(&[("events", events(&server)), ("team", slack.messages())]).await, [all, all]);
}
