//! The tests that see the program from outside, or as a whole: one crate, a folder for each subject.

#![allow(clippy::duplicate_mod, reason = "bad days come in both encodings")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod architecture;
mod bounds;
mod chart;
mod cluster;
mod commands;
mod deception;
mod delivery;
mod encodings;
mod endpoint;
mod filter;
mod fuzz;
mod hostile;
mod incidents;
mod metrics;
mod page;
mod source;
#[path = "source/mod.rs"]
mod source_in_json;
mod story;
