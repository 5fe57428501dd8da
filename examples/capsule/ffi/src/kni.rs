//! DPDK's kernel interface, which later releases took out: nothing can be made of it, and each attempt says so.

use super::{rte_mbuf, rte_mempool};
use std::ffi::{c_char, c_int, c_uint};

const ENOTSUP: c_int = 95;

/// Never made.
#[repr(C)]
pub struct rte_kni {
    _none: [u8; 0],
}

/// What an interface would be made with.
#[derive(Default)]
pub struct rte_kni_conf {
    pub name: [c_char; 32],
    pub group_id: u16,
    pub mbuf_size: c_uint,
    pub mac_addr: [u8; 6],
}

/// What an interface would ask its port.
#[derive(Default)]
pub struct rte_kni_ops {
    pub port_id: u16,
    pub change_mtu: Option<extern "C" fn(u16, c_uint) -> c_int>,
    pub config_network_if: Option<extern "C" fn(u16, u8) -> c_int>,
    pub config_mac_address: Option<extern "C" fn(u16, *mut u8) -> c_int>,
    pub config_promiscusity: Option<extern "C" fn(u16, u8) -> c_int>,
}

pub unsafe fn rte_kni_init(_max: c_uint) -> c_int {
    -ENOTSUP
}

pub unsafe fn rte_kni_close() {}

pub unsafe fn rte_kni_alloc(_: *mut rte_mempool, _: *const rte_kni_conf, _: *mut rte_kni_ops) -> *mut rte_kni {
    std::ptr::null_mut()
}

pub unsafe fn rte_kni_release(_: *mut rte_kni) -> c_int {
    -ENOTSUP
}

pub unsafe fn rte_kni_get_name(_: *const rte_kni) -> *const c_char {
    c"".as_ptr()
}

pub unsafe fn rte_kni_rx_burst(_: *mut rte_kni, _: *mut *mut rte_mbuf, _: c_uint) -> c_uint {
    0
}

pub unsafe fn rte_kni_tx_burst(_: *mut rte_kni, _: *mut *mut rte_mbuf, _: c_uint) -> c_uint {
    0
}

pub unsafe fn rte_kni_handle_request(_: *mut rte_kni) -> c_int {
    -ENOTSUP
}
