//! flowgate as a process.

use crate::ends::PATIENCE;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A router that runs; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// `address:port` of its metrics.
    metrics: String,
    log: PathBuf,
}

impl Process {
    /// Starts a router and waits until it says that packets flow.
    pub(crate) fn start(folder: &Path, name: &str, configuration: &str) -> Process {
        let (file, log) = (folder.join(format!("{name}.yaml")), folder.join(format!("{name}.log")));
        std::fs::write(&file, configuration).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_flowgate"))
            .args(["run", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let Some((_, rest)) = line.split_once("metrics http://") else {
            let _ = child.kill();
            panic!("{name} did not start: {line}{}", said());
        };
        let metrics = rest.split('/').next().unwrap().to_owned();
        Process { child, metrics, log }
    }

    /// No thread of it, DPDK's included, may do what a user may not.
    pub(crate) fn has_no_privileges(&self) {
        let mut names = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap() {
            // One that has ended since has none.
            let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else { continue };
            let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
            names.push(of("Name:"));
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                assert_eq!(of(set).trim_start_matches('0'), "", "{set} of the thread {}", of("Name:"));
            }
        }
        assert!(names.iter().any(|name| name.starts_with("vhost")), "{names:?}");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it must end well and soon.
    pub(crate) fn stop(&mut self) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}: {}", self.log());
                return;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Every sample of its metrics, by name and labels.
    pub(crate) fn metrics(&self) -> HashMap<String, f64> {
        let mut stream = TcpStream::connect(&self.metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let samples = text.lines().filter(|line| line.starts_with("flowgate_"));
        samples.filter_map(|line| line.rsplit_once(' ')).map(|(k, v)| (k.to_owned(), v.parse().unwrap())).collect()
    }

    /// The sum of the samples of a metric whose labels contain all of `labels`.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of = |key: &str| key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label));
        self.metrics().iter().filter(|(key, _)| of(key)).map(|(_, value)| value).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() && matches!(self.child.try_wait(), Ok(None)) {
            let losses =
                |(key, value): &(String, f64)| *value != 0.0 && (key.contains("drops") || key.contains("errors"));
            self.metrics().into_iter().filter(losses).for_each(|(key, value)| println!("{key} {value}"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{}:\n{}", self.log.display(), self.log());
        }
    }
}
