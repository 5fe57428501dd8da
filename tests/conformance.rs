//! The referee's second witness: what flowgate says of packets whose state the kernel has named.
//!
//! `scripts/conformance` asks the kernel, then runs the ignored test here on the same packets at the same times
//! and compares. The other tests need neither the kernel nor privileges: they hold flowgate to the answers the
//! kernel gave when they were recorded.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, missing_docs, reason = "all of it is test code")]

#[path = "conformance/batch.rs"]
mod batch;
#[path = "conformance/router.rs"]
mod router;

use batch::Batch;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Answers the batch named by `FLOWGATE_BATCH`, one line a packet, into the file `FLOWGATE_ANSWERS`.
/// `FLOWGATE_WORKERS` spreads it over so many shards, every packet dealt to one of them at random.
#[test]
#[ignore = "a tool of scripts/conformance"]
fn answer_a_batch() {
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let batch = Batch::read(Path::new(&var("FLOWGATE_BATCH")));
    let workers = std::env::var("FLOWGATE_WORKERS").ok().map(|n| n.parse().expect("FLOWGATE_WORKERS is a number"));
    let mut out = String::new();
    for answer in router::answers(&batch, workers) {
        writeln!(out, "{answer}").unwrap();
    }
    std::fs::write(var("FLOWGATE_ANSWERS"), out).expect("the answers can be written");
}

/// The recorded answers, in the order of their names.
fn recorded() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/answers");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".jsonl.gz"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no recorded answers", dir.display());
    files
}

/// What flowgate says otherwise than the kernel did, in words.
fn differences(path: &Path, workers: Option<usize>) -> String {
    let batch = Batch::read(path);
    let mut wrong = String::new();
    for ((packet, answer), i) in batch.packets.iter().zip(router::answers(&batch, workers)).zip(1..) {
        let kernel = packet.kernel.as_deref().unwrap_or_else(|| panic!("{}: packet {i} has no answer", path.display()));
        let ours = format!("{}{}", answer.state, if answer.forwarded { "" } else { " dropped" });
        if kernel != ours {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let _ = writeln!(
                wrong,
                "{file}, {}, packet {i}: kernel {kernel}, flowgate {ours} {}",
                packet.case, answer.reason
            );
        }
    }
    wrong
}

#[test]
fn packets_have_the_states_the_kernel_gave_them() {
    let wrong: String = recorded().iter().map(|path| differences(path, None)).collect();
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn workers_do_not_change_a_state() {
    for workers in [2, 8] {
        let wrong: String = recorded().iter().map(|path| differences(path, Some(workers))).collect();
        assert!(wrong.is_empty(), "with {workers} workers\n{wrong}");
    }
}
