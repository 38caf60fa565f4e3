//! Trouble without end doesn't fill the memory.

use std::{
    env, fs, io,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response};
use kube::client::Body;
use kubernetes_oom_event_generator::{health::Readiness, metrics::Metrics, source::observe};
use serde_json::json;
use support::api_server::gone;
use tokio::time::sleep;

use super::{HOUR, restarted};

/// What a failure may leave behind, in bytes: less than any note of it would be, and more than the
/// allocator is out by.
const LEFT_BEHIND: usize = 64;

#[test]
fn twenty_thousand_failures_leave_nothing_behind() {
    const ALONE: &str = "TEST_RUNS_ALONE";
    if env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(twenty_thousand_failures());
        return;
    }
    // In a process of its own: other tests need memory too.
    let (_, module) = module_path!().split_once("::").unwrap();
    let name = format!("{module}::twenty_thousand_failures_leave_nothing_behind");
    let output = Command::new(env::current_exe().unwrap()).args(["--exact", &name]).env(ALONE, "1").output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(said.contains("test result: ok. 1 passed"), "{said}");
}

async fn twenty_thousand_failures() {
    let failures = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&failures);
    let fail = move |request: Request<Body>| {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch"));
        let number = count.fetch_add(1, Ordering::Relaxed);
        let answer = answer(number, is_watch);
        async move { answer }
    };
    let client = kube::Client::new(tower::service_fn(fail), "default");
    let (metrics, readiness) = (Arc::new(Metrics::new()), Readiness::new());
    let mut observations = observe::observe(&client, &[], &metrics, &readiness);
    tokio::spawn(async move { while observations.next(true).await.is_some() {} });

    let until = async |count| {
        while failures.load(Ordering::Relaxed) < count {
            sleep(HOUR).await;
        }
        resident_bytes()
    };
    // The heap finds its size within the first ten thousand, later on a busy machine.
    let before = until(20_000).await;
    let after = until(40_000).await;
    assert!(after < before + 20_000 * LEFT_BEHIND, "{before} bytes grew to {after}");
}

/// Each failure is another one, and now and then there is a list, so that every way to fail is gone.
fn answer(number: usize, is_watch: bool) -> io::Result<Response<Body>> {
    let says = |code: u16, body: String| {
        Ok(Response::builder().status(code).body(body.into_bytes().into()).unwrap())
    };
    match number % 7 {
        0 => Err(io::Error::other(format!("connection {number} refused"))),
        1 => says(
            500,
            json!({"message": format!("failure {number}: {}", "x".repeat(number % 5_000))}).to_string(),
        ),
        2 => says(200, format!("<html>{number}</html>")),
        3 => says(410, gone().to_string()),
        4 => says(200, String::new()),
        _ if is_watch => {
            says(200, format!("{}\n", json!({"type": "ERROR", "object": {"code": number % 600}})))
        }
        _ => {
            let metadata = json!({"resourceVersion": number.to_string()});
            says(200, json!({"metadata": metadata, "items": [restarted("cart", 1)]}).to_string())
        }
    }
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
