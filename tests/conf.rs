//! Every configuration and stream file that ships is right, and raises no doubts.

use std::fs;
use std::path::Path;

#[test]
fn every_sample_loads_without_a_warning() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pktgen")) {
            if let Err(diagnostics) = flowgate::cli::pktgen::check(&path) {
                panic!("{diagnostics}");
            }
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
            continue;
        }
        match flowgate::config::load(&path) {
            Ok(loaded) => assert!(loaded.diagnostics.list().is_empty(), "{}", loaded.diagnostics),
            Err(diagnostics) => panic!("{diagnostics}"),
        }
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    for name in
        ["af_xdp.yaml", "dpdk.yaml", "gateway.yaml", "lab.yaml", "minimal.yaml", "pktgen.yaml", "pktgen-imix.yaml"]
    {
        assert!(names.iter().any(|other| other == name), "{name} is missing");
    }
}

#[test]
fn the_labs_in_containers_have_good_configurations() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker");
    let mut seen = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let loaded = flowgate::config::load(&path).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
            assert!(loaded.diagnostics.list().is_empty(), "{}", loaded.diagnostics);
            seen += 1;
        }
    }
    assert!(seen > 0, "no configuration in {}", dir.display());
}
