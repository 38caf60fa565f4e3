//! What a fake does with one request, and what it remembers of it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

/// What a fake does with one request.
#[derive(Clone, Debug)]
pub struct Manner {
    /// How long it takes until it does anything.
    pub after: Duration,
    pub stores: bool,
    pub answer: Answer,
}

/// What is heard of a fake.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A whole answer.
    Is { code: u16, retry_after: Option<u32>, body: String },
    /// Nothing, and the connection stays.
    NeverComes,
    /// The connection breaks instead.
    Breaks,
    /// The connection breaks after the first half of a success.
    BreaksOff,
    /// The connection breaks before all of the request was read.
    BreaksUnread,
}

impl Manner {
    /// Stores, and says so.
    pub fn good(code: u16, body: &str) -> Self {
        Self { stores: true, ..Self::refuses(code, body) }
    }

    /// Stores nothing, and says this.
    pub fn refuses(code: u16, body: impl Into<String>) -> Self {
        Self {
            after: Duration::ZERO,
            stores: false,
            answer: Answer::Is { code, retry_after: None, body: body.into() },
        }
    }

    /// Neither stores nor answers in full.
    pub fn fails(answer: Answer) -> Self {
        Self { after: Duration::ZERO, stores: false, answer }
    }

    /// Stores, and the sender doesn't learn of it.
    pub fn loses(answer: Answer) -> Self {
        Self { stores: true, ..Self::fails(answer) }
    }

    /// As it is, and asks to be left alone so many seconds.
    pub fn and_asks_for(mut self, seconds: u32) -> Self {
        if let Answer::Is { retry_after, .. } = &mut self.answer {
            *retry_after = Some(seconds);
        }
        self
    }

    /// As it is, that much later.
    pub fn later(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

/// A request, and what became of it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Since the fake began.
    pub at: Duration,
    /// The Pods that it told of.
    pub pods: BTreeSet<String>,
    /// Whether this very request was stored.
    pub stored: bool,
    /// Whether the sender was told so.
    pub answered: bool,
    /// The text of it.
    pub text: String,
}

/// What a fake remembers, in the order of the requests.
#[derive(Clone)]
pub struct Memory(Arc<Mutex<Vec<Asked>>>, Instant);

impl Memory {
    pub fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    /// Remembers a request; the answer is its number, from 0 on.
    pub fn begin(&self) -> usize {
        let (pods, text) = (BTreeSet::new(), String::new());
        let mut all = self.0.lock().unwrap();
        all.push(Asked { at: self.1.elapsed(), pods, stored: false, answered: false, text });
        all.len() - 1
    }

    /// What the request tells.
    pub fn tells(&self, number: usize, pods: BTreeSet<String>, text: String) {
        let asked = &mut self.0.lock().unwrap()[number];
        (asked.pods, asked.text) = (pods, text);
    }

    pub fn stored(&self, number: usize) {
        self.0.lock().unwrap()[number].stored = true;
    }

    pub fn answered(&self, number: usize) {
        self.0.lock().unwrap()[number].answered = true;
    }

    pub fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }
}
