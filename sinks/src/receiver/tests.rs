use reqwest::StatusCode;

use super::*;
use crate::AttemptOutcome;

#[test]
fn http_is_only_for_what_stays_in_the_cluster() {
    for url in [
        "https://hooks.slack.com/services/x",
        "http://localhost:8080/x",
        "http://127.0.0.1/x",
        "http://[::1]:8080/x",
        "http://10.0.0.1/x",
        "http://172.16.3.4/x",
        "http://192.168.1.1:9093",
        "http://[fd00::1]/x",
        "http://[::ffff:10.0.0.1]/x",
        "http://mattermost/hooks/x",
        "http://mattermost:8065/hooks/x",
        "http://mattermost.chat.svc/hooks/x",
        "http://mattermost.chat.svc.cluster.local./hooks/x",
    ] {
        assert!(ReceiverUrl::parse(url).is_ok(), "{url}");
    }
    for url in [
        "http://hooks.slack.com/s3cr3t",
        "http://localhost.example/s3cr3t",
        "http://8.8.8.8/s3cr3t",
        "http://169.254.169.254/s3cr3t",
        "http://[2001:db8::1]/s3cr3t",
        "http://[::ffff:8.8.8.8]/s3cr3t",
        "http://cluster.local.example/s3cr3t",
        "http://example.com/.svc",
        "http://a.svc@example.com/s3cr3t",
        "ftp://127.0.0.1/s3cr3t",
        "unix:/s3cr3t",
        "hooks.slack.com/services/s3cr3t",
        "s3cr3t",
        "",
    ] {
        let problem = ReceiverUrl::parse(url).unwrap_err();
        assert!(!problem.contains("s3cr3t"), "{problem}");
    }
    assert!(!ReceiverUrl::parse("http://127.0.0.1/x").unwrap().is_readable_by_others());
    assert!(ReceiverUrl::parse("http://mattermost/x").unwrap().is_readable_by_others());
}

#[test]
fn debug_shows_no_url() {
    let url = ReceiverUrl::parse("https://user:s3cr3t@example.com/s3cr3t").unwrap();
    assert_eq!(format!("{url:?}"), "ReceiverUrl(***)");
}

#[test]
fn an_answer_is_shown_without_the_secrets_that_it_repeats() {
    let mut mask = SecretMask::default();
    mask.url(&ReceiverUrl::parse("https://me:pa55word@example.com/hooks/T0KEN%2Dx?sig=s1gnature").unwrap());
    mask.text(&"Bearer hunter2".into());
    let show = |answer: &str| mask.show(answer.as_bytes(), false);
    assert_eq!(show(r#"{"message": "no such channel"}"#), r#"{"message": "no such channel"}"#);
    for secret in [
        "https://me:pa55word@example.com/hooks/T0KEN%2Dx?sig=s1gnature",
        "t0ken-X",
        "T0KEN%2Dx",
        "s1gnature",
        "HUNTER2",
        "pa55word",
    ] {
        let shown = show(&format!("denied:\n{secret}!"));
        assert!(shown.starts_with("denied: ") && shown.contains("***"), "{shown}");
        for piece in ["pa55word", "T0KEN", "t0ken", "s1gnature", "hunter2", "HUNTER2"] {
            assert!(!shown.contains(piece), "{shown}");
        }
    }
    let cut = "denied ".to_owned() + &"hunter2 ".repeat(100) + "hunt";
    assert!(!mask.show(cut.as_bytes(), true).contains("hunt"));
    assert_eq!(show(&"é".repeat(4000)).chars().count(), 201);
}

#[test]
fn each_status_has_an_outcome() {
    let outcome = |code, may_change| {
        let meaning = StatusMeaning::of(StatusCode::from_u16(code).unwrap());
        undelivered(meaning, "said".to_owned(), None, may_change)
    };
    for code in [408, 425, 429, 500, 502, 503, 504, 599] {
        assert!(matches!(outcome(code, false), AttemptOutcome::Retry { .. }), "{code}");
    }
    for code in [401, 403, 404, 410] {
        assert!(matches!(outcome(code, false), AttemptOutcome::Refused { .. }), "{code}");
        assert!(matches!(outcome(code, true), AttemptOutcome::Retry { .. }), "{code}");
    }
    for code in [301, 302, 304, 307, 308, 400, 402, 405, 409, 413, 422, 451] {
        assert!(matches!(outcome(code, true), AttemptOutcome::Refused { .. }), "{code}");
    }
}
