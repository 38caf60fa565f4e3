//! What the tests stand on: a real control plane and a fake one, the program as a process, a notation
//! for Pods.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "only tests read it"
)]

pub mod api_server;
pub mod behaviour;
mod control_plane;
pub mod log;
pub mod pod_dsl;
pub mod program;
pub mod slack;
pub mod sockets;

pub use control_plane::*;
