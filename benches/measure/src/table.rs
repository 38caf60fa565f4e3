//! What a run found, as a table: each figure beside the limit on this machine, and its goal.

use std::fmt;

/// A figure.
pub struct Row {
    pub name: String,
    pub unit: Unit,
    pub program: Option<f64>,
    pub against: Option<f64>,
    /// What nobody can do better on this machine, or hardly.
    pub limit: Option<f64>,
    /// The CPU time that the API server took, as a part of the program's.
    pub server: Option<f64>,
    pub goals: Vec<Goal>,
}

/// What is wanted of a figure.
#[derive(Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// At most so many times the limit.
    TimesLimit(f64),
    /// At least so much of the limit.
    OfLimit(f64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    PerSecond,
    Seconds,
    Count,
    Ratio,
}

impl Row {
    pub fn new(name: impl Into<String>, unit: Unit, values: &[f64]) -> Self {
        Self {
            name: name.into(),
            unit,
            program: values.first().copied(),
            against: values.get(1).copied(),
            limit: None,
            server: None,
            goals: Vec::new(),
        }
    }

    /// Beside it, a limit that this very build found: one without optimisation tells nothing.
    pub fn limit(self, limit: f64) -> Self {
        Self { limit: Some(limit).filter(|_| !cfg!(debug_assertions)), ..self }
    }

    /// Beside it, a figure that doesn't depend on this build.
    pub fn accepted(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    pub fn server(self, server: f64) -> Self {
        Self { server: Some(server), ..self }
    }

    pub fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    /// Whether it is told by a clock, which other work on the machine disturbs.
    fn is_time(&self) -> bool {
        matches!(self.unit, Unit::PerSecond | Unit::Seconds)
    }

    /// Whether a goal is met, which may be missed by the factor `slack`; `None` where the figure is
    /// missing.
    fn meets(&self, goal: Goal, slack: f64) -> Option<bool> {
        let program = self.program?;
        Some(match goal {
            Goal::AtMost(most) => program <= most * slack,
            Goal::AtLeast(least) => program * slack >= least,
            Goal::TimesLimit(times) => program <= self.limit? * times * slack,
            Goal::OfLimit(part) => program * slack >= self.limit? * part,
        })
    }

    /// What is missed by more than the factor `slack`. Times count only if they are asked for.
    pub fn failures(&self, strict: bool, slack: f64) -> Vec<String> {
        if self.is_time() && !strict {
            return Vec::new();
        }
        let unmet = self.goals.iter().filter(|goal| self.meets(**goal, slack) == Some(false));
        unmet.map(|goal| format!("{}: {}", self.name, goal.shown(self.unit))).collect()
    }
}

impl Goal {
    fn shown(self, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("at most {}", unit.shown(most)),
            Self::AtLeast(least) => format!("at least {}", unit.shown(least)),
            Self::TimesLimit(times) => format!("at most {times} x limit"),
            Self::OfLimit(part) => format!("at least {part} x limit"),
        }
    }
}

impl Unit {
    fn shown(self, value: f64) -> String {
        match self {
            Self::Bytes => format!("{:.1} MB", value / 1e6),
            Self::PerSecond => format!("{value:.0}/s"),
            Self::Seconds if value < 0.1 => format!("{:.2} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::Count => format!("{value:.0}"),
            Self::Ratio => format!("{value:.2}"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: Option<f64>| value.map_or_else(String::new, |value| self.unit.shown(value));
        let ratio = |of: Option<f64>| match (self.program, of) {
            (Some(program), Some(of)) if of > 0.0 && program < of / 10.0 => format!("{:.4}", program / of),
            (Some(program), Some(of)) if of > 0.0 => format!("{:.2}", program / of),
            _ => String::new(),
        };
        let goals = self.goals.iter().map(|goal| {
            let met = match self.meets(*goal, 1.0) {
                Some(true) => "met",
                Some(false) => "NOT MET",
                None => "not measured",
            };
            format!("{}: {met}", goal.shown(self.unit))
        });
        write!(
            f,
            "{:56} {:>10} {:>10} {:>6} {:>10} {:>6} {:>6}  {}",
            self.name,
            value(self.program),
            value(self.against),
            ratio(self.against),
            value(self.limit),
            ratio(self.limit),
            self.server.map_or_else(String::new, |server| format!("{server:.2}")),
            goals.collect::<Vec<_>>().join("; ")
        )
    }
}

/// What stands above the rows.
pub fn head() -> String {
    format!(
        "{:56} {:>10} {:>10} {:>6} {:>10} {:>6} {:>6}  {}",
        "", "program", "against", "ratio", "limit", "ratio", "server", "goal"
    )
}

/// The value that as many are below as above.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
