//! Tells a Kubernetes team, exactly once, that a container was OOM-killed and started again.

pub mod cli;
pub mod config;
