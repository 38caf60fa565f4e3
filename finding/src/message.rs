//! Says a finding in a sentence, and explains it: the one place where cause, advice and message come from.

use untrusted::is_deceptive;

use crate::{
    Advice, AdvicePolicy, Cause, CauseKind, EXIT_CODE_OF_SIGKILL, Finding, KillHistory, Restarted, bytes,
    quantity::quantity,
};

impl Finding {
    /// Fills in cause, advice and message from what else it says, what its evidence shows and what happened
    /// before. Whoever learns more of these calls it again. Without a policy it gives no advice.
    pub fn explain(&mut self, advice: Option<&AdvicePolicy>, history: &KillHistory) {
        self.cause = Cause::of(self, history);
        self.advice = advice.and_then(|policy| Advice::of(self, policy, history));
        // Whoever writes Pods controls what is in the message, and it is shown on terminals.
        self.message = self.sentence().replace(is_deceptive, " ");
    }

    /// Says it in a sentence that begins as the messages of xing/kubernetes-oom-event-generator do, so
    /// that a search for those finds these.
    fn sentence(&self) -> String {
        let Self { container, killed, restarted, advice, .. } = self;
        let subject =
            if restarted.is_some() { "The previous instance of the container" } else { "The container" };
        let id = killed.container_id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
        let mut details = vec![self.limit()];
        let ran = killed.started_at.zip(killed.finished_at).map(|(start, end)| end.duration_since(start));
        if let Some(ran) = ran.filter(|ran| !ran.is_negative()) {
            details.push(format!("ran for {ran:#}"));
        }
        if let Some(code) = killed.exit_code.filter(|code| *code != EXIT_CODE_OF_SIGKILL) {
            details.push(format!("marked OOMKilled, but exited with {code}"));
        }
        match restarted {
            Some(Restarted { restart_count: Some(count), .. }) => {
                details.push(format!("restart count {count}"));
            }
            Some(_) => {}
            None => details.push("not restarted".to_owned()),
        }
        if let Some(limit) = advice.as_ref().and_then(|advice| advice.memory_limit_bytes) {
            details.push(format!("try {}", quantity(limit)));
        }
        format!("{subject} '{}'{id} was OOMKilled: {}", container.name, details.join(", "))
    }

    /// Says which memory limit was reached.
    fn limit(&self) -> String {
        let kind = self.cause.as_ref().map(|cause| cause.kind);
        match (self.container.memory_limit_bytes, self.pod.memory_limit_bytes) {
            (_, Some(whole)) if kind == Some(CauseKind::PodLimit) => {
                format!("memory limit of the Pod {}", bytes(whole))
            }
            (Some(own), _) => format!("memory limit {}", bytes(own)),
            (None, Some(whole)) => format!("memory limit of the Pod {}", bytes(whole)),
            (None, None) if self.evidence.node_ran_out => "no memory limit, its node ran out".to_owned(),
            (None, None) if self.evidence.limits_are_known => "no memory limit".to_owned(),
            (None, None) => "memory limit unknown".to_owned(),
        }
    }
}
