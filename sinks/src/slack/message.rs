//! Fits findings into messages within Slack's limits.
//!
//! Each workload gets a paragraph. At a limit it continues in another paragraph, and the paragraphs in
//! another message. No finding is left out, and nothing becomes a link.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::wording::{self, MessageSetting, ParagraphPart, ToldKill};
use crate::Delivery;

/// The longest text of a section. Slack counts characters ("Section block"), of which there are never more
/// than bytes.
const MAX_SECTION_BYTES: usize = 3_000;

/// The longest message, as [`SlackMessage::has_room_for`] counts. Slack documents no limit, but answers
/// `msg_blocks_too_long` from about 13,200 characters on, [`BLOCK_OVERHEAD_BYTES`] included
/// (slackapi/bolt-js#2509, #2867). Slack's limit of 50 blocks follows from it, because a section is only
/// begun when the one before has no room.
const MAX_MESSAGE_BYTES: usize = 12_000;

/// What Slack counts for a block beside its text, as measured by others.
const BLOCK_OVERHEAD_BYTES: usize = 100;

/// Of more workloads than this, which die of one cause more likely than not, only the limits are said: a storm is
/// to be a handful of messages.
const MAX_EXPLAINED_WORKLOADS: usize = 10;

/// Separates paragraphs.
const GAP: &str = "\n\n";

/// One post to the webhook.
pub(super) struct SlackMessage<'a> {
    /// Each has as many paragraphs as fit.
    sections: Vec<String>,
    kills: Vec<ToldKill<'a>>,
    now: Instant,
}

/// Returns as few messages as Slack's limits allow. Each finding of the batch is in exactly one.
pub(super) fn compose<'a>(batch: &'a [Delivery], setting: &MessageSetting<'a>) -> Vec<SlackMessage<'a>> {
    let now = setting.now;
    let all = batch.iter().enumerate().map(|(place, delivery)| ToldKill::new(place, delivery, setting));
    let (tests, mut kills): (Vec<_>, Vec<_>) = all.partition(|kill| kill.finding.test);
    kills.sort_by(|a, b| a.workload().cmp(&b.workload()).then_with(|| a.line().cmp(&b.line())));

    let mut messages: Vec<SlackMessage<'_>> = Vec::new();
    let workloads = || kills.chunk_by(|a, b| a.workload() == b.workload());
    let explains = workloads().count() <= MAX_EXPLAINED_WORKLOADS;
    for workload in workloads() {
        for (kills, paragraph) in paragraphs(workload, explains, now) {
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

/// Returns the kills of one workload in as many paragraphs as needed. A Pod's line is never cut. The first
/// paragraph explains the kills if it should, and there is room.
fn paragraphs<'k, 'a>(
    workload: &'k [ToldKill<'a>],
    explains: bool,
    now: Instant,
) -> Vec<(&'k [ToldKill<'a>], String)> {
    let whole = workload;
    let fits = |kills: &[ToldKill<'_>], explains| {
        let number = Some((whole.len(), whole.len()));
        let lengthy = ParagraphPart { whole, number, begins: true, ends: true, explains };
        wording::paragraph(kills, lengthy, now).len() <= MAX_SECTION_BYTES
    };
    let mut lines = workload.chunk_by(|a, b| a.line() == b.line());
    let explains_first = explains && lines.next().is_some_and(|first| fits(first, true));
    let mut parts: Vec<&[ToldKill<'_>]> = Vec::new();
    let mut begin = 0;
    let mut end = 0;
    for line in workload.chunk_by(|a, b| a.line() == b.line()) {
        let longer = &workload[begin..end + line.len()];
        if begin < end && !fits(longer, explains_first && parts.is_empty()) {
            parts.push(&workload[begin..end]);
            begin = end;
        }
        end += line.len();
    }
    parts.push(&workload[begin..end]);
    let of = parts.len();
    let paragraph = |(index, kills)| {
        let (begins, number) = (index == 0, (of > 1).then_some((index + 1, of)));
        let explains = explains_first && begins;
        let part = ParagraphPart { whole, number, begins, ends: index + 1 == of, explains };
        (kills, wording::paragraph(kills, part, now))
    };
    parts.into_iter().enumerate().map(paragraph).collect()
}

impl<'a> SlackMessage<'a> {
    /// Returns the indices in the batch of the findings in this message.
    pub(super) fn findings(&self) -> impl Iterator<Item = usize> {
        self.kills.iter().map(|kill| kill.place)
    }

    /// Returns the payload to post.
    pub(super) fn body(&self) -> Value {
        let block = |text: &String| {
            // `verbatim`: text that looks like a link, a channel or a mention stays text.
            // `expand`: no Pod is hidden behind "See more".
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

    /// Returns the same payload without blocks, for when Slack can't read the blocks.
    pub(super) fn plain_body(&self) -> Value {
        json!({ "text": self.sections.join(GAP), "unfurl_links": false, "unfurl_media": false })
    }

    /// Returns the text for notifications, and for readers that show no blocks.
    fn notification(&self) -> String {
        match self.kills.as_slice() {
            [ToldKill { finding, .. }] if finding.test => wording::test(finding).1,
            kills => wording::notification(kills, self.now),
        }
    }

    /// Returns whether the paragraph fits, even if it begins a section of its own.
    fn has_room_for(&self, paragraph: &str) -> bool {
        let length: usize = self.sections.iter().map(|section| section.len() + BLOCK_OVERHEAD_BYTES).sum();
        length + paragraph.len() + BLOCK_OVERHEAD_BYTES <= MAX_MESSAGE_BYTES
    }

    fn push(&mut self, kills: &[ToldKill<'a>], paragraph: &str) {
        self.kills.extend(kills);
        match self.sections.last_mut() {
            Some(section) if section.len() + GAP.len() + paragraph.len() <= MAX_SECTION_BYTES => {
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
