//! What a fake server does with one request.

use std::time::Duration;

use serde_json::Value;

/// What a fake server does with one request.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// How long it takes until it does anything.
    pub after: Duration,
    /// Whether it does what it is asked to do. The answer is another matter.
    pub acts: bool,
    pub answer: Answer,
}

/// What is heard of a fake server.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What it should say.
    Right,
    /// This instead.
    Says { code: u16, retry_after: Option<u32>, body: String },
    /// These bytes instead, which are said to be Protobuf.
    SaysInProtobuf { code: u16, bytes: Vec<u8> },
    /// Nothing, and the connection stays.
    Never,
    /// What it should say, so many bytes of it; then nothing more, and the connection stays.
    FreezesAfter(usize),
    /// What it should say, so many bytes of it; then the connection breaks.
    BreaksAfter(usize),
    /// The connection breaks.
    Breaks,
    /// The connection breaks before all of the request was read. Without a socket, as [`Breaks`](Self::Breaks).
    BreaksUnread,
}

impl Behaviour {
    /// Does what it should.
    pub fn good() -> Self {
        Self::loses(Answer::Right)
    }

    /// Does nothing, and says this.
    pub fn says(code: u16, body: impl Into<String>) -> Self {
        Self::fails(Answer::Says { code, retry_after: None, body: body.into() })
    }

    /// Does nothing, and says this, which is said to be Protobuf.
    pub fn says_in_protobuf(code: u16, bytes: Vec<u8>) -> Self {
        Self::fails(Answer::SaysInProtobuf { code, bytes })
    }

    /// Does nothing, and answers with this `metav1.Status`.
    pub fn refuses(status: &Value) -> Self {
        Self::says(u16::try_from(status["code"].as_u64().unwrap()).unwrap(), status.to_string())
    }

    /// Does nothing, and this is heard of it.
    pub fn fails(answer: Answer) -> Self {
        Self { after: Duration::ZERO, acts: false, answer }
    }

    /// Does what it should, and this is heard of it.
    pub fn loses(answer: Answer) -> Self {
        Self { acts: true, ..Self::fails(answer) }
    }

    /// As it is, and asks to be left alone for so many seconds.
    #[must_use]
    pub fn and_asks_for(mut self, seconds: u32) -> Self {
        if let Answer::Says { retry_after, .. } = &mut self.answer {
            *retry_after = Some(seconds);
        }
        self
    }

    /// As it is, that much later.
    #[must_use]
    pub fn later(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}
