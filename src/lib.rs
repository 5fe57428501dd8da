//! flowgate: a stateful poll-mode router.

#[cfg(not(target_os = "linux"))]
compile_error!("flowgate runs on Linux");

pub mod net;
pub mod frame;
pub mod driver;
pub mod wire;
pub mod steer;
pub mod frag;
pub mod conntrack;
pub mod helper;
pub mod policy;
pub mod route;
pub mod shard;
pub mod worker;
pub mod control;
pub mod metrics;
pub mod config;
pub mod cli;
