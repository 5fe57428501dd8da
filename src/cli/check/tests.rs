use super::*;
use std::fs;

const GOOD: &str = "version: 1\nports: { a: { driver: memory } }\n";
const DOUBTFUL: &str = "version: 1\nports: { a: { driver: memory } }\nmetrics: { listen: \"0.0.0.0:9752\" }\n";
const BAD: &str = "version: 1\nports: { a: { driver: memroy } }\n";

fn reserved(settings: &Settings) -> Reserved {
    Reserved { parts: vec![("tables", u64::from(settings.conntrack.max_entries)), ("buffers", 3 << 20)] }
}

/// Exit code, standard output and standard error of a check of these texts, with the directory's name cut out.
fn check(options: Check, texts: &[&str]) -> (u8, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options;
    for (at, text) in texts.iter().enumerate() {
        let path = dir.path().join(format!("{at}.yaml"));
        fs::write(&path, text).unwrap();
        options.files.push(path);
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check_all(&options, &reserved, false, (&mut out, &mut err)).unwrap();
    let clean = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&format!("{}/", dir.path().display()), "");
    (code, clean(out), clean(err))
}

#[test]
fn a_good_file_gets_one_line() {
    let (code, out, err) = check(Check::default(), &[GOOD]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "0.yaml: good: 1 port, 0 rules in 0 chains, 1 worker; reserves 4 MiB (tables 256 KiB, buffers 3 MiB)\n"
    );
    assert_eq!(err, "");
}

#[test]
fn a_bad_file_does_not_hide_the_others() {
    let (code, out, err) = check(Check::default(), &[BAD, GOOD]);
    assert_eq!(code, 1);
    assert!(out.starts_with("1.yaml: good"), "{out}");
    assert!(err.contains(" --> 0.yaml:2:23\n"), "{err}");
    assert!(err.ends_with("0.yaml: 1 error\n"), "{err}");
}

#[test]
fn warnings_fail_only_a_strict_check() {
    let (code, out, err) = check(Check::default(), &[DOUBTFUL]);
    assert_eq!(code, 0);
    assert!(out.ends_with("; 1 warning\n"), "{out}");
    assert!(err.starts_with("warning: metrics are open"), "{err}");
    let strict = || Check { strict: true, ..Check::default() };
    assert_eq!(check(strict(), &[DOUBTFUL]).0, 3);
    assert_eq!(check(strict(), &[GOOD]).0, 0);
    assert_eq!(check(strict(), &[DOUBTFUL, BAD]).0, 1);
}

#[test]
fn a_missing_file_is_named() {
    let options = Check { files: vec!["/nonexistent/x.yaml".into()], ..Check::default() };
    let (code, out, err) = check(options, &[]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("error: cannot read /nonexistent/x.yaml: No such file"), "{err}");
}

#[test]
fn what_is_printed_can_be_checked_again() {
    let print = || Check { print: true, ..Check::default() };
    let (code, first, _) = check(print(), &[GOOD]);
    assert_eq!(code, 0);
    assert!(first.starts_with("# 0.yaml: good"), "{first}");
    let (code, second, _) = check(print(), &[&first]);
    assert_eq!((code, second), (0, first));
}

#[test]
fn programs_get_one_object_per_file() {
    let (code, out, err) = check(Check { format: Format::Json, print: true, ..Check::default() }, &[BAD, DOUBTFUL]);
    assert_eq!((code, err.as_str()), (1, ""));
    let objects: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["good"], false);
    let found = &objects[0]["diagnostics"][0];
    assert_eq!((&found["line"], &found["column"], &found["severity"]), (&json!(2), &json!(23), &json!("error")));
    assert_eq!(found["help"], "did you mean `memory`?");
    assert_eq!(objects[1]["good"], true);
    assert_eq!(objects[1]["warnings"], 1);
    assert_eq!(objects[1]["reserved_bytes"]["total"], 262_144 + (3 << 20));
    assert_eq!(objects[1]["settings"]["conntrack"]["timeouts"]["tcp_established"], "5d");
}
