//! What the program's own parts log in the thread of a test.

use std::{cell::RefCell, io, sync::Once};

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
        let subscriber = tracing_subscriber::fmt().with_writer(|| ToThisThread).with_ansi(false).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    LOG.take();
}

/// Returns the lines that contain all of these parts.
pub fn logged(parts: &[&str]) -> Vec<String> {
    let text = LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
    let wanted = text.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
    wanted.map(str::to_owned).collect()
}
