//! Keeps out of the log what deceives whoever reads it: names, images and messages are of others' making.

use std::{fmt::Debug, io};

use tracing::field::Field;
use tracing_subscriber::{
    field::MakeExt,
    fmt::{
        FormatFields,
        format::{Writer, debug_fn},
    },
};
use untrusted::{clean, clean_json};

/// Returns how a line of text shows the message and the fields of an event: cleaned.
pub(super) fn text_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    let field = |writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        let value = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", clean(&value)),
            name => write!(writer, "{name}={}", clean(&value)),
        }
    };
    debug_fn(field).delimited(" ")
}

/// Takes lines of JSON, one a write as tracing does, and passes them on cleaned.
pub(super) struct JsonLines<W>(pub(super) W);

impl<W: io::Write> io::Write for JsonLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = clean_json(text.trim_end_matches('\n')).into_owned() + "\n";
        self.0.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;
    use untrusted::is_deceptive;

    use super::*;

    const HOSTILE: &str = "\u{1b}[31mred\u{9b}31m\u{7f}\u{202e}over\r\nforged line";

    #[derive(Clone, Default)]
    struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

    impl SharedBuffer {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for SharedBuffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log() {
        tracing::info!(name = %HOSTILE, quoted = HOSTILE, "message {HOSTILE}");
    }

    #[test]
    fn an_event_is_one_line_of_text_without_anything_that_deceives() {
        for ansi in [false, true] {
            let buffer = SharedBuffer::default();
            let writer = buffer.clone();
            let subscriber = fmt().fmt_fields(text_fields()).with_ansi(ansi);
            let subscriber = subscriber.with_writer(move || writer.clone()).finish();
            tracing::subscriber::with_default(subscriber, log);
            let text = buffer.text();
            let (_, said) = text.strip_suffix('\n').unwrap().split_once("message ").unwrap();
            assert!(!said.contains(is_deceptive) && said.contains("forged line"), "{said:?}");
        }
    }

    #[test]
    fn an_event_is_one_line_of_json_that_means_the_same() {
        let buffer = SharedBuffer::default();
        let writer = buffer.clone();
        let subscriber = fmt().json().with_writer(move || JsonLines(writer.clone())).finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = buffer.text();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(is_deceptive), "{line:?}");
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["fields"]["name"], HOSTILE);
    }
}
