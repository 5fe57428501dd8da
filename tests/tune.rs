//! `scripts/tune` on a made-up machine: what it sets, that it may be called again, and that it undoes all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is test code")]

use std::fs;
use std::path::Path;
use std::process::Command;

const MACHINE: &[(&str, &str)] = &[
    ("sys/devices/system/cpu/online", "0-3"),
    ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
    ("proc/irq/default_smp_affinity", "f"),
    ("proc/irq/9/acpi/x", ""),
    ("proc/irq/9/smp_affinity_list", "0-3"),
    ("proc/irq/24/eth0/x", ""),
    ("proc/irq/24/smp_affinity_list", "1"),
    // Without a handler.
    ("proc/irq/5/smp_affinity_list", "2"),
    ("proc/sys/vm/nr_hugepages", "7"),
];

fn read(root: &Path) -> Vec<String> {
    MACHINE.iter().map(|(path, _)| fs::read_to_string(root.join(path)).unwrap().trim().to_owned()).collect()
}

fn tune(root: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tune");
    let output = Command::new("bash").arg(script).args(arguments).env("TUNE_ROOT", root).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn what_tune_sets_it_undoes() {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in MACHINE {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let before = read(root.path());
    let (code, said) = tune(root.path(), &["--cores", "2-3", "--pages", "64"]);
    assert_eq!(code, Some(0), "{said}");
    let tuned = read(root.path());
    assert_eq!(tuned, ["0-3", "performance", "powersave", "3", "", "0,1", "", "1", "2", "64"]);
    assert_eq!(said.lines().count(), 4, "{said}");
    // Again changes nothing; more changes more; undo goes back to the beginning.
    assert_eq!(tune(root.path(), &["--cores", "2,3", "--pages", "64"]), (Some(0), String::new()));
    assert_eq!(tune(root.path(), &["--pages", "128"]).0, Some(0));
    let (code, said) = tune(root.path(), &["--undo"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(read(root.path()), before);
    assert_eq!(tune(root.path(), &["--undo"]), (Some(0), "nothing to undo\n".to_owned()));
}

#[test]
fn what_cannot_be_is_refused_before_anything_changes() {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in MACHINE {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let before = read(root.path());
    for wrong in
        [&["--cores", "0-3"][..], &["--cores", "2,9"], &["--cores", "two"], &["--pages", "-1"], &["--all"], &[]]
    {
        let (code, said) = tune(root.path(), wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {said}");
    }
    assert_eq!(read(root.path()), before);
}
