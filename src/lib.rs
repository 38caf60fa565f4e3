pub mod fanout;
pub mod health;
pub mod metrics;
pub mod server;
