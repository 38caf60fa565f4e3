//! The alerts that have not ended. Pure: the time comes in.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::alert::{Alert, AlertLabels};

/// The most alerts that are remembered, some 1 KB each. Those that are forgotten are not sent again, unless there is
/// another kill.
const MAX_ACTIVE_ALERTS: usize = 1024;

/// The alerts that have not ended, by their labels.
#[derive(Debug, Default)]
pub(super) struct ActiveAlerts(BTreeMap<AlertLabels, Alert>);

impl ActiveAlerts {
    /// Returns an alert with the beginning of the one that it continues, if that has not ended.
    pub(super) fn continued(&self, alert: Alert, now: Timestamp) -> Alert {
        let earlier = self.0.get(&alert.labels).filter(|earlier| earlier.ends_at > now);
        alert.after(earlier.cloned())
    }

    /// Remembers an alert that was sent before this run, among the others of its labels. Returns whether it has not ended.
    pub(super) fn restore(&mut self, alert: Alert, now: Timestamp) -> bool {
        if alert.ends_at <= now {
            return false;
        }
        let (earlier, later) = match self.0.remove(&alert.labels) {
            Some(other) if other.ends_at > alert.ends_at => (Some(alert), other),
            other => (other, alert),
        };
        self.put(later.after(earlier));
        true
    }

    /// Remembers an alert. If there are too many, forgets one of the namespace that has most: that which ends first.
    pub(super) fn put(&mut self, alert: Alert) {
        self.0.insert(alert.labels.clone(), alert);
        if self.0.len() <= MAX_ACTIVE_ALERTS {
            return;
        }
        let mut namespaces: BTreeMap<_, Vec<&Alert>> = BTreeMap::new();
        for alert in self.0.values() {
            namespaces.entry(alert.namespace()).or_default().push(alert);
        }
        let most = namespaces.into_values().max_by_key(Vec::len).unwrap_or_default();
        if let Some(first) =
            most.into_iter().min_by_key(|alert| alert.ends_at).map(|alert| alert.labels.clone())
        {
            self.0.remove(&first);
        }
    }

    /// Forgets an alert.
    pub(super) fn remove(&mut self, labels: &AlertLabels) {
        self.0.remove(labels);
    }

    /// Returns the alerts that have not ended, and forgets the others.
    pub(super) fn at(&mut self, now: Timestamp) -> Vec<Alert> {
        self.0.retain(|_, alert| alert.ends_at > now);
        self.0.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use finding::Finding;
    use jiff::SignedDuration;

    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    fn alert(namespace: &str, name: &str, begins: i64, ends: i64) -> Alert {
        let mut finding = Finding { namespace: namespace.to_owned(), incident: None, ..Finding::full() };
        finding.pod.workload.name = name.to_owned();
        finding.killed.finished_at = Some(at(begins));
        Alert::of(&finding, &BTreeMap::new(), at(begins), at(ends))
    }

    #[test]
    fn a_further_kill_continues_an_alert_that_has_not_ended() {
        let mut active = ActiveAlerts::default();
        active.put(alert("shop", "cart", 0, 60));
        assert_eq!(active.continued(alert("shop", "cart", 30, 90), at(30)).starts_at, at(0));
        assert_eq!(active.continued(alert("shop", "cart", 70, 90), at(70)).starts_at, at(70));
        assert_eq!(active.at(at(59)).len(), 1);
        assert_eq!(active.at(at(60)).len(), 0);
    }

    #[test]
    fn what_was_sent_before_goes_on_from_its_beginning_to_its_end() {
        let mut active = ActiveAlerts::default();
        assert!(!active.restore(alert("shop", "cart", 0, 60), at(70)), "it has ended");
        assert!(active.restore(alert("shop", "cart", 30, 90), at(70)));
        assert!(active.restore(alert("shop", "cart", 20, 80), at(70)));
        let alerts = active.at(at(70));
        let times: Vec<_> = alerts.iter().map(|alert| (alert.starts_at, alert.ends_at)).collect();
        assert_eq!(times, [(at(20), at(90))]);
    }

    #[test]
    fn the_namespace_that_has_most_loses_first() {
        let mut active = ActiveAlerts::default();
        active.put(alert("shop", "cart", 0, 1));
        for number in 0..=MAX_ACTIVE_ALERTS {
            active.put(alert("flood", &format!("w-{number}"), 0, 60));
        }
        let left = active.at(at(0));
        assert_eq!(left.len(), MAX_ACTIVE_ALERTS);
        assert!(left.iter().any(|alert| alert.namespace() == "shop"));
    }
}
