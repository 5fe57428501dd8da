//! Declares DPDK's functions as capsule expects them, and builds the shim around the inline ones.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Every function capsule calls that is no inline one.
const FUNCTIONS: &[&str] = &[
    "rte_eal_cleanup",
    "rte_eth_(dev|rx|tx)_.*",
    "rte_eth_(promiscuous|allmulticast)_.*",
    "rte_eth_(macaddr|stats)_get",
    "rte_eth_add_[rt]x_callback",
    "rte_mempool_(free|in_use_count)",
    "rte_pktmbuf_pool_create",
    "rte_socket_.*",
    "rte_strerror",
    "rte_thread_set_affinity",
    "numa_node_of_cpu",
    "cffi_.*",
    "_rte_.*",
];

const LIBRARIES: &[&str] = &["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "numa"];

fn main() {
    for file in ["build.rs", "src/shim.c", "src/shim.h"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let dpdk = pkg_config::Config::new()
        .atleast_version("22.11")
        .cargo_metadata(false)
        .probe("libdpdk")
        .expect("DPDK 22.11 or later is needed (package libdpdk-dev)");
    let other = Command::new("pkg-config").args(["--cflags-only-other", "libdpdk"]).output().expect("pkg-config runs");
    let other = String::from_utf8_lossy(&other.stdout).into_owned();
    let flags: Vec<&str> = other.split_whitespace().collect();

    let mut shim = cc::Build::new();
    shim.file("src/shim.c").includes(&dpdk.include_paths).opt_level(2).flag_if_supported("-Wno-unused-parameter");
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("capsule_shim");
    for path in &dpdk.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }

    let mut bindings = bindgen::Builder::default()
        .header("src/shim.h")
        .clang_args(dpdk.include_paths.iter().map(|path| format!("-I{}", path.display())))
        .clang_args(&flags)
        .allowlist_type("rte_eth_rx_mq_mode")
        .allowlist_var("CFFI_.*|RTE_MBUF_DEFAULT_BUF_SIZE")
        .opaque_type("rte_arp_ipv4|rte_arp_hdr")
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        .default_enum_style(bindgen::EnumVariation::ModuleConsts);
    for function in FUNCTIONS {
        bindings = bindings.allowlist_function(function);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("bindings.rs");
    bindings.generate().expect("bindgen reads DPDK's headers (package libclang-dev)").write_to_file(out).expect("written");
}
