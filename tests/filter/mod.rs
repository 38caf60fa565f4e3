//! What the filter finds, and how much memory it takes.

pub mod case;
mod cases;
mod described;
mod explained;
mod kubelet_model;
mod memory;
mod own_starts;
mod policies;
