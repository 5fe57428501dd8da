//! The machine as its files show it.

use super::link::{self, Link};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a check looks: files below a root, and the interfaces of a network namespace.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    links: Vec<Link>,
}

impl Host {
    /// This machine, and the network namespace of the calling thread. A kernel that does not list its interfaces
    /// has none.
    #[must_use]
    pub fn this() -> Host {
        Host { root: PathBuf::from("/"), links: link::all().unwrap_or_default() }
    }

    /// Another machine: its `/proc`, `/sys`, `/dev` and `/run` below `root`.
    #[must_use]
    pub fn at(root: &Path, links: Vec<Link>) -> Host {
        Host { root: root.to_owned(), links }
    }

    /// Where an absolute path of that machine is.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file, without the white space around it.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    /// The number a file consists of.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// Whether a path exists.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The names in a folder, sorted; none if it cannot be read.
    #[must_use]
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The text of a symbolic link.
    #[must_use]
    pub fn target(&self, path: &str) -> Option<String> {
        fs::read_link(self.path(path)).ok()?.into_os_string().into_string().ok()
    }

    /// What follows `key` on its line of a file, as in `MemTotal:    16 kB`.
    #[must_use]
    pub fn value(&self, path: &str, key: &str) -> Option<String> {
        self.text(path)?.lines().find_map(|line| line.strip_prefix(key)).map(|rest| rest.trim().to_owned())
    }

    /// Interfaces.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The interface of that name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Whether this process has a capability in effect, by its number (capabilities(7)). Unknown counts as yes.
    #[must_use]
    pub fn has_capability(&self, number: u8) -> bool {
        let mask = self.value("/proc/self/status", "CapEff:").and_then(|hex| u64::from_str_radix(&hex, 16).ok());
        mask.is_none_or(|mask| mask >> number & 1 == 1)
    }

    /// Whether this process is root's.
    #[must_use]
    pub fn is_root(&self) -> bool {
        let ids = self.value("/proc/self/status", "Uid:").unwrap_or_default();
        ids.split_whitespace().nth(1) == Some("0")
    }

    /// The limit on locked memory in octets; `None` without one.
    #[must_use]
    pub fn memlock(&self) -> Option<u64> {
        self.value("/proc/self/limits", "Max locked memory")?.split_whitespace().next()?.parse().ok()
    }

    /// The processes that hold the socket of this inode, as far as they may be seen.
    #[must_use]
    pub fn holders(&self, inode: &str) -> Vec<u32> {
        let wanted = format!("socket:[{inode}]");
        let numbers = self.names("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
        let mut holders: Vec<u32> = numbers
            .filter(|pid| {
                let folder = format!("/proc/{pid}/fd");
                self.names(&folder).iter().any(|fd| self.target(&format!("{folder}/{fd}")).as_deref() == Some(&wanted))
            })
            .collect();
        holders.sort_unstable();
        holders
    }

    /// The NUMA node of a CPU, on a machine with more than one.
    #[must_use]
    pub fn node_of_cpu(&self, cpu: u16) -> Option<u16> {
        let nodes = self.names("/sys/devices/system/node").into_iter();
        let nodes: Vec<u16> = nodes.filter_map(|name| name.strip_prefix("node")?.parse().ok()).collect();
        if nodes.len() < 2 {
            return None;
        }
        let has = |node: &u16| {
            let list = self.text(&format!("/sys/devices/system/node/node{node}/cpulist"));
            list.is_some_and(|list| cpu_list(&list).contains(&cpu))
        };
        nodes.into_iter().find(has)
    }
}

/// The kernel's list format: numbers and ranges between commas. What cannot be read is left out.
#[must_use]
pub fn cpu_list(text: &str) -> Vec<u16> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}
