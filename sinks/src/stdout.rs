//! The `stdout` sink: one line of JSON per finding or resolved incident, flushed as it is written.
//!
//! A thread of its own writes, so a reader that stops reading blocks only this sink, and not the end of
//! the program.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    mem,
    os::fd::AsFd,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use finding::{Finding, ResolvedIncident};
use tokio::sync::oneshot;
use untrusted::clean_json;

use crate::{
    AttemptOutcome, Delivery, Sink, SinkBuildError, SinkContext, SinkLimits, SinkSettings, SinkType,
};

/// `type: stdout`.
pub const TYPE: SinkType = SinkType {
    name: "stdout",
    owns_stdout: true,
    tells_resolved: true,
    read: |_| Some(Arc::new(StdoutSettings)),
    ..SinkType::PLAIN
};

/// The reason given once the reader of standard output has ended.
pub const CLOSED_REASON: &str = "standard output is closed: whoever read it has ended";

/// Lines handed to the thread at a time.
const BATCH: usize = 64;

/// Long, because waiting delays nothing else, and a call that is given up may write its line twice.
const TIMEOUT: Duration = Duration::from_hours(1);

/// Returns the line that this sink writes for a finding, without the newline. Its strings escape what could
/// deceive whoever reads it in a terminal.
pub fn line(finding: &Finding) -> String {
    clean_line(serde_json::to_string(finding))
}

#[expect(
    clippy::expect_used,
    reason = "only map keys and types that refuse could fail, and neither findings nor incidents have any"
)]
fn clean_line(json: serde_json::Result<String>) -> String {
    clean_json(&json.expect("it has a JSON form")).into_owned()
}

/// There is nothing to set.
#[derive(Debug)]
struct StdoutSettings;

impl SinkSettings for StdoutSettings {
    fn build(&self, context: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError> {
        // Not `io::stdout()`: its buffer would keep the rest of a line whose write failed halfway.
        let file = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        match file.and_then(|file| StdoutSink::to(Box::new(file), context.only_stdout)) {
            Ok(sink) => Ok(Arc::new(sink)),
            Err(error) => Err(SinkBuildError::Failed {
                tried: "opening standard output",
                source: error.into(),
                remedy: "",
            }),
        }
    }
}

/// Writes findings as lines of JSON.
#[derive(Debug)]
pub struct StdoutSink {
    writer: mpsc::Sender<WriteRequest>,
}

/// The lines of one call of `deliver`, and where their outcomes go.
#[derive(Debug)]
struct WriteRequest {
    lines: Vec<String>,
    outcomes: oneshot::Sender<Vec<AttemptOutcome>>,
}

impl StdoutSink {
    /// Starts the thread that writes to `out`, with one [`Write::write`] a line if `out` takes it whole. If
    /// it is the only sink (`alone`), findings that come after `out` is closed are no loss.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn to(out: Box<dyn Write + Send>, alone: bool) -> io::Result<Self> {
        let (writer, attempts) = mpsc::channel::<WriteRequest>();
        let mut lines =
            LineWriter { out, alone, current: String::new(), written: 0, finished_late: String::new() };
        thread::Builder::new().name("stdout".into()).spawn(move || {
            for attempt in attempts {
                lines.write_all(attempt);
            }
        })?;
        Ok(Self { writer })
    }

    /// Has the thread write lines. Returns one outcome per line.
    async fn write(&self, lines: Vec<String>) -> Vec<AttemptOutcome> {
        let (outcomes, answer) = oneshot::channel();
        let count = lines.len();
        let ended = || AttemptOutcome::Refused {
            reason: "the thread that writes to standard output has ended".into(),
        };
        match self.writer.send(WriteRequest { lines, outcomes }) {
            Ok(()) => answer.await.unwrap_or_else(|_| vec![ended(); count]),
            Err(_) => vec![ended(); count],
        }
    }
}

#[async_trait]
impl Sink for StdoutSink {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: BATCH, concurrency: 1, interval: Duration::ZERO, timeout: TIMEOUT }
    }

    /// # Cancel safety
    ///
    /// Cancelled before its first line is begun, a call writes nothing. A line that is begun is finished
    /// before the next one.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        self.write(batch.iter().map(|delivery| line(&delivery.finding) + "\n").collect()).await
    }

    async fn resolve(&self, resolved: &[ResolvedIncident]) -> Vec<AttemptOutcome> {
        let line = |resolved| clean_line(serde_json::to_string(resolved)) + "\n";
        self.write(resolved.iter().map(line).collect()).await
    }
}

/// Writes whole lines, one after the other.
struct LineWriter {
    out: Box<dyn Write + Send>,
    alone: bool,
    current: String,
    /// How many bytes of `current` were written.
    written: usize,
    /// The line whose rest was written before another line. Its finding will be retried, and must not be
    /// written again.
    finished_late: String,
}

impl LineWriter {
    fn write_all(&mut self, attempt: WriteRequest) {
        let mut outcomes = Vec::with_capacity(attempt.lines.len());
        for line in attempt.lines {
            // The call was cancelled: the courier will retry these findings.
            if attempt.outcomes.is_closed() {
                break;
            }
            outcomes.push(match self.write(line) {
                Ok(()) => AttemptOutcome::Delivered,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    let reason = CLOSED_REASON.into();
                    if self.alone {
                        AttemptOutcome::Gone { reason }
                    } else {
                        AttemptOutcome::Refused { reason }
                    }
                }
                Err(error) => AttemptOutcome::Retry {
                    reason: format!("writing to standard output: {error}"),
                    after: None,
                },
            });
        }
        if attempt.outcomes.send(outcomes).is_err() {
            tracing::warn!("lines were written after their time-out, so standard output may repeat them");
        }
    }

    /// Writes a line. If the line before failed halfway, its rest comes first; if that was the same line
    /// (a retry), nothing else is written.
    fn write(&mut self, line: String) -> io::Result<()> {
        if self.written > 0 {
            self.finish()?;
            self.finished_late = mem::take(&mut self.current);
        }
        if self.finished_late == line {
            self.finished_late.clear();
            return Ok(());
        }
        self.current = line;
        self.finish()
    }

    fn finish(&mut self) -> io::Result<()> {
        while self.written < self.current.len() {
            match self.out.write(&self.current.as_bytes()[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, task::Poll};

    use super::*;

    /// What was written, one entry per call of `write`.
    type WrittenLines = Arc<Mutex<Vec<String>>>;

    /// A writer that does as its script says for its first calls, then takes everything.
    struct ScriptedWriter {
        script: std::vec::IntoIter<io::Result<usize>>,
        written: WrittenLines,
    }

    impl Write for ScriptedWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.script.next().unwrap_or(Ok(bytes.len()))?;
            self.written.lock().unwrap().push(String::from_utf8(bytes[..count].to_vec()).unwrap());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted(script: Vec<io::Result<usize>>) -> (StdoutSink, WrittenLines) {
        let written = WrittenLines::default();
        let out = ScriptedWriter { script: script.into_iter(), written: Arc::clone(&written) };
        (StdoutSink::to(Box::new(out), false).unwrap(), written)
    }

    fn findings(count: usize) -> Vec<Delivery> {
        let finding =
            |number: usize| Finding { message: format!("kill {number}\nof many"), ..Finding::full() };
        (0..count).map(|number| Delivery::from(finding(number))).collect()
    }

    fn lines(batch: &[Delivery]) -> Vec<String> {
        batch.iter().map(|delivery| line(&delivery.finding) + "\n").collect()
    }

    #[tokio::test]
    async fn each_finding_is_one_line_and_one_write() {
        let (sink, written) = scripted(Vec::new());
        let batch = findings(3);
        assert_eq!(sink.deliver(&batch).await, vec![AttemptOutcome::Delivered; 3]);
        let written = written.lock().unwrap().clone();
        assert_eq!(written, lines(&batch));
        assert!(written.iter().all(|line| line.matches('\n').count() == 1));
    }

    #[tokio::test]
    async fn an_incident_that_is_over_is_a_line_too() {
        let (sink, written) = scripted(Vec::new());
        let incidents = [ResolvedIncident::full(), ResolvedIncident::minimal()];
        assert_eq!(sink.resolve(&incidents).await, vec![AttemptOutcome::Delivered; 2]);
        let written = written.lock().unwrap().clone();
        assert!(written[0].starts_with(r#"{"schema":"oom-resolved/v1","id":""#), "{written:?}");
        assert_eq!(written.len(), 2);
    }

    #[tokio::test]
    async fn short_and_interrupted_writes_are_continued() {
        let (sink, written) = scripted(vec![Ok(10), Err(ErrorKind::Interrupted.into()), Ok(5)]);
        let batch = findings(2);
        assert_eq!(sink.deliver(&batch).await, vec![AttemptOutcome::Delivered; 2]);
        assert_eq!(written.lock().unwrap().concat(), lines(&batch).concat());
    }

    #[tokio::test]
    async fn a_line_that_failed_halfway_is_finished_and_not_repeated() {
        let (sink, written) = scripted(vec![Ok(10), Err(ErrorKind::StorageFull.into())]);
        let batch = findings(1);
        let outcomes = sink.deliver(&batch).await;
        assert!(matches!(outcomes.as_slice(), [AttemptOutcome::Retry { .. }]), "{outcomes:?}");
        assert_eq!(sink.deliver(&batch).await, [AttemptOutcome::Delivered]);
        assert_eq!(written.lock().unwrap().concat(), lines(&batch).concat());
    }

    #[tokio::test]
    async fn a_line_that_failed_halfway_is_finished_before_another() {
        let (sink, written) = scripted(vec![Ok(10), Err(ErrorKind::StorageFull.into())]);
        let batch = findings(2);
        let outcomes = sink.deliver(&batch).await;
        assert!(
            matches!(outcomes.as_slice(), [AttemptOutcome::Retry { .. }, AttemptOutcome::Delivered]),
            "{outcomes:?}"
        );
        assert_eq!(sink.deliver(&batch[..1]).await, [AttemptOutcome::Delivered]);
        assert_eq!(written.lock().unwrap().concat(), lines(&batch).concat());
    }

    #[tokio::test]
    async fn a_closed_pipe_refuses() {
        let (sink, _) = scripted(vec![Err(ErrorKind::BrokenPipe.into())]);
        assert_eq!(
            sink.deliver(&findings(1)).await,
            [AttemptOutcome::Refused { reason: CLOSED_REASON.into() }]
        );
    }

    /// A writer that waits in its first call until it is let go.
    struct StuckWriter {
        entered: mpsc::Sender<()>,
        let_go: Option<mpsc::Receiver<()>>,
        written: WrittenLines,
    }

    impl Write for StuckWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(let_go) = self.let_go.take() {
                self.entered.send(()).unwrap();
                let_go.recv().unwrap();
            }
            self.written.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_attempt_after_one_that_was_given_up_waits_for_its_line() {
        let (entered, stuck) = mpsc::channel();
        let (let_it_go, let_go) = mpsc::channel();
        let written = WrittenLines::default();
        let out = StuckWriter { entered, let_go: Some(let_go), written: Arc::clone(&written) };
        let sink = StdoutSink::to(Box::new(out), false).unwrap();
        let batch = findings(3);

        let mut given_up = sink.deliver(&batch[..2]);
        assert!(
            std::future::poll_fn(|context| Poll::Ready(given_up.as_mut().poll(context))).await.is_pending()
        );
        stuck.recv().unwrap();
        drop(given_up);
        let_it_go.send(()).unwrap();

        assert_eq!(sink.deliver(&batch[2..]).await, [AttemptOutcome::Delivered]);
        // The first line was begun, the second was not.
        let lines = lines(&batch);
        assert_eq!(*written.lock().unwrap(), [lines[0].clone(), lines[2].clone()]);
    }

    #[test]
    fn a_line_has_the_fields_in_the_order_that_people_read() {
        let line = line(&Finding::minimal());
        assert!(line.starts_with(r#"{"schema":"oom-finding/v1","id":""#), "{line}");
        assert!(line.contains(r#""restarted":null,"message":"#), "{line}");
    }

    #[test]
    fn a_line_shows_nothing_that_deceives_and_loses_nothing() {
        let image = Some("\u{9b}31m\u{7f}\u{202e}".to_owned());
        let mut finding = Finding::full();
        finding.container.image.clone_from(&image);
        let line = line(&finding);
        assert!(!line.contains(untrusted::is_deceptive), "{line}");
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["container"]["image"].as_str(), image.as_deref());
    }
}
