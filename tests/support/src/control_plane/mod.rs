//! A real etcd and kube-apiserver for tests, and a test's way to play the kubelet.
//!
//! [`ControlPlane`] starts them and takes them down whatever happens, and [`Namespace`] is where a test
//! plays the kubelet. There are no nodes, no controllers and no scheduler: nothing happens in this cluster
//! but what the test does.

mod binaries;
mod kubelet;
mod plane;
mod process;
mod recording;
mod servers;
mod service_account;
mod table;

pub use kubelet::Namespace;
pub use plane::{Builder, ControlPlane};
pub use process::Leash;
pub use service_account::GrantScope;
