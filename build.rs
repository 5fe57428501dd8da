//! Builds what the feature `dpdk` needs: the shim around DPDK's inline functions, and the declarations of it.
//! Without the feature there is nothing to do, and no C compiler is asked for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "dpdk")]
    dpdk::build();
}

#[cfg(feature = "dpdk")]
mod dpdk {
    use std::env;
    use std::path::PathBuf;

    const SHIM: &str = "src/driver/dpdk/shim";

    /// Libraries whose functions the shim calls. The drivers are loaded when the program runs.
    const LIBRARIES: [&str; 5] = ["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_net"];

    /// The first release whose log is a library of its own.
    const OWN_LOG: &str = "23.11";

    pub(super) fn build() {
        for end in [".h", ".c"] {
            println!("cargo::rerun-if-changed={SHIM}{end}");
        }
        let dpdk = pkg_config::Config::new().atleast_version("22.11").cargo_metadata(false).probe("libdpdk");
        let dpdk = match dpdk {
            Ok(dpdk) => dpdk,
            Err(error) => {
                println!("cargo::error=the feature `dpdk` needs DPDK 22.11 or later (package libdpdk-dev): {error}");
                std::process::exit(1);
            }
        };
        let flags = flags();

        let mut shim = cc::Build::new();
        shim.file(format!("{SHIM}.c")).includes(&dpdk.include_paths).warnings(true).opt_level(3);
        // Its headers use what C has only as an extension, and parameters for other systems.
        shim.flag_if_supported("-Wno-unused-parameter").flag_if_supported("-Wno-address-of-packed-member");
        for flag in &flags {
            shim.flag(flag);
        }
        shim.compile("flowgate_dpdk");

        for path in &dpdk.link_paths {
            println!("cargo::rustc-link-search=native={}", path.display());
        }
        for library in LIBRARIES {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
        if pkg_config::Config::new().atleast_version(OWN_LOG).cargo_metadata(false).probe("libdpdk").is_ok() {
            println!("cargo::rustc-link-lib=dylib=rte_log");
        }

        let include = dpdk.include_paths.iter().map(|path| format!("-I{}", path.display()));
        let bindings = bindgen::Builder::default()
            .header(format!("{SHIM}.h"))
            .clang_args(include)
            .clang_args(&flags)
            .allowlist_function("fg_.*")
            .allowlist_var("FG_.*")
            .allowlist_type("fg_.*|rte_mbuf")
            .opaque_type("rte_mempool|rte_mbuf_ext_shared_info")
            .derive_default(true)
            .layout_tests(false)
            .generate_comments(false)
            .generate();
        let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("dpdk.rs");
        let written = bindings
            .map_err(|error| error.to_string())
            .and_then(|bindings| bindings.write_to_file(&out).map_err(|error| format!("{}: {error}", out.display())));
        if let Err(error) = written {
            println!("cargo::error=the declarations of DPDK could not be made (package libclang-dev): {error}");
            std::process::exit(1);
        }
    }

    /// What pkg-config says beside include paths: the machine DPDK was built for, and the file of its options.
    fn flags() -> Vec<String> {
        let output = std::process::Command::new(env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into()))
            .args(["--cflags-only-other", "libdpdk"])
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }
}
