//! What has gone wrong since a watch last worked, and what that means for what comes next.

use super::failure::FailureKind;

/// After so many useless answers in a row, which take about a minute, the resource is listed again. Not
/// sooner: a watch that goes on shows every change, a list only the last state.
const MAX_USELESS_ANSWERS: u32 = 5;

/// How many requests failed since a watch last worked.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    /// In whatever way.
    failed: u32,
    /// Because their version had expired.
    expired: u32,
    /// Because the API server went silent.
    silent: u32,
    /// Because the answer was an error or of no use; only those since the last list.
    useless: u32,
}

/// What a failure calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Nothing: it is part of good days.
    Routine,
    /// A pause, and a word to the outside.
    Trouble,
}

impl Setbacks {
    /// Takes in a failure. The first expired version is routine: etcd forgets versions after five minutes,
    /// and nothing tells a quiet watch of Events of newer ones. Versions that went back are trouble.
    pub(super) fn add(&mut self, kind: FailureKind) -> Severity {
        self.failed += 1;
        match kind {
            FailureKind::Expired => self.expired += 1,
            FailureKind::Silent => self.silent += 1,
            FailureKind::Unreachable | FailureKind::NotSent | FailureKind::WentBack => {}
            FailureKind::Refused(_) | FailureKind::Unusable => self.useless += 1,
        }
        if kind == FailureKind::Expired && self.expired == 1 { Severity::Routine } else { Severity::Trouble }
    }

    /// Takes in that the list is complete.
    pub(super) fn listed(&mut self) {
        self.useless = 0;
    }

    /// Takes in that a watch works; returns whether anything had gone wrong before.
    pub(super) fn works(&mut self) -> bool {
        std::mem::take(self).failed > 0
    }

    /// Returns whether a watch that says nothing may be taken for one that has nothing to say.
    pub(super) fn trust_silence(&self) -> bool {
        self.silent == 0
    }

    /// Returns whether watches are of so little use that the resource must be listed again.
    pub(super) fn demand_list(&self) -> bool {
        self.useless >= MAX_USELESS_ANSWERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_expired_version_is_routine_until_a_watch_works() {
        use FailureKind::{Expired, Unreachable};
        let mut setbacks = Setbacks::default();
        let severities = [Unreachable, Expired, Expired].map(|kind| setbacks.add(kind));
        assert_eq!(severities, [Severity::Trouble, Severity::Routine, Severity::Trouble]);
        assert!(setbacks.works());
        assert_eq!(setbacks.add(Expired), Severity::Routine);
    }

    #[test]
    fn a_restore_from_a_backup_is_trouble_at_once() {
        assert_eq!(Setbacks::default().add(FailureKind::WentBack), Severity::Trouble);
    }

    #[test]
    fn five_useless_answers_demand_a_list_and_a_list_begins_the_count_anew() {
        use FailureKind::{Unreachable, Unusable};
        let mut setbacks = Setbacks::default();
        for kind in [Unusable, Unusable, Unreachable, Unusable, Unusable] {
            setbacks.add(kind);
        }
        assert!(!setbacks.demand_list());
        setbacks.add(Unusable);
        assert!(setbacks.demand_list());
        setbacks.listed();
        assert!(!setbacks.demand_list());
        assert!(setbacks.works() && !setbacks.works());
    }
}
