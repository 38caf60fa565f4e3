//! What stands in which message? Findings go in, messages within Slack's limits come out.
//!
//! Each workload is a paragraph. Where a limit is reached, the workload goes on in another paragraph, and
//! the paragraphs in another message; no finding is ever left out, and nothing is a link.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::wording::{self, ParagraphPart, ToldKill};
use crate::Delivery;

/// The text of a section, in characters (Slack: "Section block"). We count bytes, which are never fewer.
const LONGEST_SECTION: usize = 3_000;

/// A message, in bytes, as [`SlackMessage::has_room_for`] counts. Slack documents no limit, but answers
/// `msg_blocks_too_long` from some 13,200 characters on, [`BLOCK`] included (slackapi/bolt-js#2509,
/// #2867). That it has 50 blocks at most follows: of two neighbours, the second didn't fit into the first.
const LONGEST_MESSAGE: usize = 12_000;

/// What a block counts beside its text. People who measured say a hundred.
const BLOCK: usize = 100;

/// Between paragraphs.
const GAP: &str = "\n\n";

/// One post to the webhook.
pub(super) struct SlackMessage<'a> {
    /// Each as many paragraphs as fit.
    sections: Vec<String>,
    kills: Vec<ToldKill<'a>>,
    now: Instant,
}

/// As few messages as Slack's limits allow. Each finding of the batch is in exactly one. What is said of
/// the time since earlier messages is true `now`.
pub(super) fn compose(batch: &[Delivery], now: Instant) -> Vec<SlackMessage<'_>> {
    let all = batch.iter().enumerate().map(ToldKill::new);
    let (tests, mut kills): (Vec<_>, Vec<_>) = all.partition(|kill| kill.finding.test);
    kills.sort_by(|a, b| a.workload().cmp(&b.workload()).then_with(|| a.line().cmp(&b.line())));

    let mut messages: Vec<SlackMessage<'_>> = Vec::new();
    for workload in kills.chunk_by(|a, b| a.workload() == b.workload()) {
        for (kills, paragraph) in paragraphs(workload, now) {
            match messages.last_mut() {
                Some(message) if message.has_room_for(&paragraph) => message.push(kills, &paragraph),
                _ => messages.push(SlackMessage { sections: vec![paragraph], kills: kills.to_vec(), now }),
            }
        }
    }
    messages.extend(tests.into_iter().map(|kill| SlackMessage {
        sections: vec![wording::test(kill.finding).0],
        kills: vec![kill],
        now,
    }));
    messages
}

/// The kills of one workload in as many paragraphs as needed. A Pod's line is never cut.
fn paragraphs<'k, 'a>(workload: &'k [ToldKill<'a>], now: Instant) -> Vec<(&'k [ToldKill<'a>], String)> {
    let longest = ParagraphPart { number: workload.len(), of: workload.len() };
    let mut parts: Vec<&[ToldKill<'_>]> = Vec::new();
    let mut begin = 0;
    let mut end = 0;
    for line in workload.chunk_by(|a, b| a.line() == b.line()) {
        let longer = &workload[begin..end + line.len()];
        if begin < end && wording::paragraph(longer, longest, now).len() > LONGEST_SECTION {
            parts.push(&workload[begin..end]);
            begin = end;
        }
        end += line.len();
    }
    parts.push(&workload[begin..end]);
    let of = parts.len();
    let paragraph =
        |(index, kills)| (kills, wording::paragraph(kills, ParagraphPart { number: index + 1, of }, now));
    parts.into_iter().enumerate().map(paragraph).collect()
}

impl<'a> SlackMessage<'a> {
    /// The places in the batch of the findings that it tells of.
    pub(super) fn findings(&self) -> impl Iterator<Item = usize> {
        self.kills.iter().map(|kill| kill.place)
    }

    /// What to post.
    pub(super) fn body(&self) -> Value {
        let block = |text: &String| {
            // `verbatim`: what looks like a link, a channel or a mention stays text.
            // `expand`: a Pod's name isn't hidden behind "See more".
            let text = json!({ "type": "mrkdwn", "text": text, "verbatim": true });
            json!({ "type": "section", "text": text, "expand": true })
        };
        let blocks: Vec<Value> = self.sections.iter().map(block).collect();
        json!({
            "text": self.notification(),
            "mrkdwn": false,
            "blocks": blocks,
            "unfurl_links": false,
            "unfurl_media": false,
        })
    }

    /// The same without blocks, for when Slack finds a fault with these.
    pub(super) fn plain_body(&self) -> Value {
        json!({ "text": self.sections.join(GAP), "unfurl_links": false, "unfurl_media": false })
    }

    /// The text for notifications, and for readers that show no blocks.
    fn notification(&self) -> String {
        match self.kills.as_slice() {
            [ToldKill { finding, .. }] if finding.test => wording::test(finding).1,
            kills => wording::notification(kills, self.now),
        }
    }

    /// Counts as if the paragraph began a section of its own.
    fn has_room_for(&self, paragraph: &str) -> bool {
        let length: usize = self.sections.iter().map(|section| section.len() + BLOCK).sum();
        length + paragraph.len() + BLOCK <= LONGEST_MESSAGE
    }

    fn push(&mut self, kills: &[ToldKill<'a>], paragraph: &str) {
        self.kills.extend(kills);
        match self.sections.last_mut() {
            Some(section) if section.len() + GAP.len() + paragraph.len() <= LONGEST_SECTION => {
                *section += GAP;
                *section += paragraph;
            }
            _ => self.sections.push(paragraph.to_owned()),
        }
    }
}

#[cfg(test)]
mod limits;
#[cfg(test)]
mod tests;
