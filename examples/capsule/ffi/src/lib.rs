//! The part of `capsule-ffi` 0.1.5 that capsule uses, over the distribution's DPDK.
//!
//! The published crate binds DPDK 19.11 and names each of that release's libraries. Here bindgen reads the headers that are
//! installed; constants and options that were renamed since keep the names capsule knows. The kernel interface KNI,
//! which distributions no longer build, answers that it is not supported.

#![allow(unsafe_op_in_unsafe_fn)] // bindgen wraps some calls so
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, missing_docs, clippy::all)]

mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}
mod kni;

pub use bindings::*;
pub use kni::*;

pub const ETH_RSS_IP: u64 = CFFI_RSS_IP;
pub const ETH_RSS_TCP: u64 = CFFI_RSS_TCP;
pub const ETH_RSS_UDP: u64 = CFFI_RSS_UDP;
pub const ETH_RSS_SCTP: u64 = CFFI_RSS_SCTP;
pub const DEV_TX_OFFLOAD_MBUF_FAST_FREE: u64 = CFFI_FAST_FREE;

pub mod rte_eth_rx_mq_mode {
    pub use super::bindings::rte_eth_rx_mq_mode::*;
    pub const ETH_MQ_RX_RSS: Type = RTE_ETH_MQ_RX_RSS;
}

pub use bindings::cffi_eal_init as rte_eal_init;
