//! What the program's own parts log in the thread of a test.

use std::{cell::RefCell, io, sync::Once};

use serde_json::Value;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

thread_local! {
    /// What this thread has logged, which is what one test has: each has a thread of its own.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ToThisThread;

impl io::Write for ToThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins an empty log for this thread. One subscriber serves all of them, for good: where tests come
/// and go with their own, `tracing` may take a place that logs for one that nobody heeds.
pub fn begin() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let own = ["kubernetes_oom_event_generator", "sinks"].map(|target| (target, LevelFilter::INFO));
        let lines = fmt::layer().json().with_writer(|| ToThisThread);
        tracing_subscriber::registry().with(Targets::new().with_targets(own)).with(lines).init();
    });
    LOG.take();
}

/// The fields of the lines with this message.
pub fn logged(message: &str) -> Vec<Value> {
    let text = LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
    let fields = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].take());
    fields.filter(|fields| fields["message"] == message).collect()
}
