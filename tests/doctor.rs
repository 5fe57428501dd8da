//! `flowgate doctor` in a network namespace: it finds what is wrong, and its commands mend it.
//!
//! Needs root; skips itself with a message otherwise. The namespace is named `fgdoc…` and removed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

#[path = "common/namespaces.rs"]
mod namespaces;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Namespace(String);

impl Namespace {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).args(words);
        command
    }

    fn shell(&self, line: &str) -> Output {
        let output = self.command(&["sh", "-c", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Waits until the kernel has noted that the link is up, which it does in its own time.
    fn sees_carrier(&self, device: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !String::from_utf8_lossy(&self.shell(&format!("ip link show {device}")).stdout).contains("state UP") {
            assert!(Instant::now() < deadline, "the link of {device} stays down");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Exit code, and every check as `subject check status`, with its command.
    fn doctor(&self, config: &str) -> (i32, Vec<(String, Option<String>)>) {
        let flowgate = env!("CARGO_BIN_EXE_flowgate");
        let output =
            self.command(&[flowgate, "doctor", "--strict", "--format", "json", "-c", config]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let word = |check: &serde_json::Value, key: &str| check[key].as_str().unwrap().to_owned();
        let checks = report["checks"].as_array().unwrap().iter().map(|check| {
            let line = format!("{} {} {}", word(check, "subject"), word(check, "check"), word(check, "status"));
            (line, check["command"].as_str().map(str::to_owned))
        });
        (output.status.code().unwrap(), checks.collect())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// A process that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const CONFIG: &str = "
version: 1
ports:
  in: { driver: af_packet, device: e0, addresses: [192.0.2.1/24] }
  out: { driver: af_packet, device: e1, addresses: [198.51.100.1/24] }
";

#[test]
fn doctors_commands_mend_what_it_finds() {
    if !namespaces::can_be_made("doctor") {
        return;
    }
    let ns = Namespace(format!("fgdoc{}", std::process::id()));
    let made = Command::new("ip").args(["netns", "add", &ns.0]).status().unwrap();
    assert!(made.success());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("doctor.yaml");
    std::fs::write(&config, CONFIG).unwrap();
    let config = config.to_str().unwrap();
    ns.shell("sysctl -qw net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0");
    ns.shell("ip link add e0 type veth peer name f0; ip link add e1 type veth peer name f1");
    ns.shell("ip link set f0 up; ip link set f1 up; ip addr add 10.0.0.1/24 dev e0; ip link set e1 up");
    ns.shell("sysctl -qw net.ipv4.ip_forward=1");
    ns.sees_carrier("e1");

    let (code, checks) = ns.doctor(config);
    let wrong: Vec<_> = checks.iter().filter(|(line, _)| !line.ends_with(" ok")).collect();
    let lines: Vec<&str> = wrong.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(code, 1);
    let wanted = [
        "port in link missing",
        "port in silence missing",
        "port in silence missing",
        "port in silence warning",
        "port out silence missing",
        "port out silence warning",
    ];
    assert_eq!(lines, wanted);
    for (_, command) in wrong {
        ns.shell(command.as_ref().unwrap());
    }
    ns.sees_carrier("e0");
    let (code, checks) = ns.doctor(config);
    assert_eq!(code, 0, "{checks:?}");

    // Now a router may run, and is seen.
    let flowgate = env!("CARGO_BIN_EXE_flowgate");
    let router = ns.command(&[flowgate, "run", "-c", config]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut router = Running(router.unwrap());
    let mut ready = String::new();
    BufReader::new(router.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let (code, checks) = ns.doctor(config);
    let taken: Vec<_> = checks.iter().filter(|(line, _)| line.ends_with(" use missing")).collect();
    let kill = format!("kill {}", router.0.id());
    let seen = taken.iter().all(|(_, command)| command.as_deref() == Some(&kill));
    // A second one is told the same.
    let second = ns.command(&[flowgate, "run", "-c", config]).output().unwrap();
    ns.shell(&kill);
    let ended = router.0.wait().unwrap();
    assert!(ready.starts_with("flowgate ready"), "{ready}");
    assert!(code == 1 && taken.len() == 2 && seen, "{checks:?}");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another flowgate has interface") && said.contains(&format!("$ {kill}")), "{said}");
    assert!(ended.success(), "{ended}");
    assert_eq!(ns.doctor(config).0, 0);
}
