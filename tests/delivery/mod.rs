//! What becomes of findings when those who should store them misbehave as the real ones do: each ends in
//! exactly one outcome for each sink, nothing is lost, and nothing doubled but where an answer was lost.
//!
//! With fakes, on paused time, where it is about what they do; with a real API server, and the program as
//! a process, where it is about how fast and how much.

mod alertmanager;
mod books;
mod config_file;
mod denials;
mod events;
mod gathering;
mod hanging;
mod ignored;
mod ledger;
mod lists;
mod namespaces;
mod outcomes;
mod own_sink;
mod presets;
mod secret;
mod signature;
mod stdout;
mod storm;
mod webhook;
