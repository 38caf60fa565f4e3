//! What the filter finds, and how much memory it takes.

mod cases;
mod described;
mod kubelet_model;
mod memory;
mod own_starts;
mod policies;
