//! The tests that see the program from outside, or as a whole: one crate, one file a subject.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod bad_day;
mod cases;
mod chart;
mod check;
mod cluster;
mod config;
mod delivery;
mod kubelet_model;
mod metrics;
mod notation;
mod own_sink;
mod program;
mod proxy;
mod remembered;
mod replay;
mod storm;
mod webhook;
