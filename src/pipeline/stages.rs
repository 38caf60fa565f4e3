//! The stages that a finding passes through, and what they do when something happens.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::Client;
use sinks::kubernetes::EventLedger;
use tokio::{task::coop::consume_budget, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    backlog::Backlog,
    detection::Detection,
    duty::{Duty, LedEventLedger},
    recovery::{OwedReader, record_of},
};
use crate::{
    config::Config,
    fanout::{Drained, Fanout, Ledger, LedgerRights},
    health::Readiness,
    leadership::Leadership,
    metrics::Metrics,
    source::{Observation, Observations},
};

/// The stages, and what connects them.
pub(super) struct Stages<'a> {
    pub client: &'a Client,
    pub config: &'a Config,
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    pub leadership: Leadership,
    pub observations: Observations,
    pub detection: Detection,
    pub duty: Duty,
    pub backlog: Backlog,
    pub owed: OwedReader,
    pub fanout: Fanout,
    /// Where the ledger may be kept, once that is known.
    pub rights: Option<LedgerRights>,
}

impl Stages<'_> {
    /// Takes in where the ledger may be kept.
    pub(super) fn learn_rights(&mut self, rights: Option<LedgerRights>) {
        self.rights = rights;
        if self.duty.recovers() {
            self.keep_ledger();
        }
    }

    /// Follows a change of leadership.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: findings may be lost.
    pub(super) async fn change_duty(&mut self) {
        let Self { fanout, backlog, observations, detection, .. } = self;
        if self.duty.change(fanout, backlog, observations, detection).await {
            self.keep_ledger();
        }
    }

    /// Reports progress, or that only a restart helps. Tells which incidents are over, and goes on to read what
    /// is owed.
    pub(super) fn beat(&mut self) {
        match self.fanout.dead_courier() {
            Some(sink) => {
                self.readiness.dead(format!("the courier of the sink {sink} has ended, which is a bug"));
            }
            None => self.readiness.progress(),
        }
        let over = self.detection.over(Timestamp::now(), self.readiness.readiness().good);
        if self.duty.leads() {
            for quiet in &over {
                self.fanout.resolve(&quiet.resolved, &quiet.last);
            }
        }
        if self.duty.recovers() {
            self.owed.go_on(&self.fanout, &self.observations);
        }
    }

    /// Delivers the next findings of a list.
    pub(super) fn send_backlog(&mut self) {
        self.backlog.pop(Instant::now()).into_iter().for_each(|finding| self.fanout.send(finding));
    }

    /// Takes in an observation, and delivers or keeps what is found by it.
    ///
    /// # Cancel safety
    ///
    /// What is found and not yet delivered is lost.
    pub(super) async fn take_in(&mut self, observation: Observation) {
        let is_of_list = self.backlog.notice(&observation);
        if let Some(record) = record_of(&observation, self.config) {
            if self.duty.recovers() {
                self.owed.notice(&record, &self.fanout);
                // So that nothing is told as new that was told before.
                self.fanout.remember(&record.finding, &record.owed);
            }
            self.detection.remember(&record.finding, Timestamp::now());
        }
        self.duty.notice(&observation, &mut self.backlog, &self.detection);
        let found = self.detection.observe(observation, Timestamp::now());
        for finding in found.into_iter().filter_map(|finding| self.duty.admit(finding)) {
            if is_of_list {
                self.backlog.push(finding, Instant::now());
            } else {
                self.fanout.send(finding);
            }
            // Of a Pod with a thousand kills, the couriers take in some before the next ones come.
            consume_budget().await;
        }
    }

    /// Stops the source, then delivers what is queued for up to `grace`, or until `at_once` is cancelled.
    pub(super) async fn drain(mut self, grace: Duration, at_once: CancellationToken) -> Drained {
        drop(self.observations);
        if self.duty.leads() {
            self.backlog.drain().for_each(|finding| self.fanout.send(finding));
        }
        tracing::info!(?grace, "stopping: delivering what is queued");
        self.fanout.drain(grace, at_once).await
    }

    /// Keeps the ledger in the Events of the cluster, if the account may write them.
    fn keep_ledger(&mut self) {
        let Some(rights) = self.rights.clone() else { return };
        let ledger = EventLedger::new(self.client.clone());
        let store = Arc::new(LedEventLedger { ledger, leadership: self.leadership.clone() });
        self.fanout.keep(Ledger::start(store, rights, self.config.lookback, self.metrics.owed()));
    }
}
