//! The program against a real API server, and how it is reached.

mod advice;
mod incidents;
pub mod kills;
mod ledger;
pub mod proxy;
mod rights;
mod siege;
mod standby;
pub mod storm;
mod tenants;
