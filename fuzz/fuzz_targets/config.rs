//! Any text as a configuration: mistakes with a place, or settings that compile and mean the same when printed.

#![no_main]

use flowgate::cli::replay::snapshot;
use flowgate::config::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Files named in it are not the fuzzer's.
    if text.contains("file") {
        return;
    }
    let (settings, mistakes) = parse("fuzz.yaml", text);
    let shown = mistakes.to_string();
    match settings {
        None => assert!(!shown.is_empty(), "refused without a word"),
        Some(settings) => {
            let _ = snapshot(&settings).map_err(|error| assert!(!error.is_empty()));
            // JSON is YAML.
            let printed = serde_json::to_string(&settings).expect("settings can be printed");
            let (again, mistakes) = parse("printed.yaml", &printed);
            assert_eq!(again.as_ref(), Some(&settings), "{mistakes}\n{printed}");
        }
    }
});
