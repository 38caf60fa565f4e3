//! The program against a real API server, and how it is reached.

pub mod kills;
pub mod proxy;
mod rights;
pub mod storm;
