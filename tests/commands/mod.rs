//! The commands that a person calls, and the configuration that they read.

mod causes;
mod check;
mod config;
mod receivers;
mod replay;
mod scan;
