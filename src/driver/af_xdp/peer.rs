//! What the other end of a veth must not do, for its frames to make sense without what the kernel knows of them.

use crate::driver::PortSpec;
use crate::driver::interface::{ethtool, sys};
use crate::driver::needs::{Host, namespace_id};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Network namespaces that are looked into, at most.
const NAMESPACES: usize = 1024;

/// The other end of a veth.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    name: String,
    /// What `ethtool` has to be run by, in its namespace.
    within: String,
    /// It leaves checksums to the device, which for a veth means to nobody.
    unfinished: bool,
}

/// What to say of the other end of the interface `name`, if it has one.
pub(super) fn warning(spec: &PortSpec, name: &str) -> Option<String> {
    let host = Host::this();
    let link = host.link(name).filter(|link| link.kind.as_deref() == Some("veth"))?;
    let other = link.peer.and_then(|peer| match link.peer_namespace {
        None => end(peer, String::new()),
        Some(namespace) => end_elsewhere(peer, namespace),
    });
    let port = &spec.name;
    match other {
        None => Some(format!(
            "port {port}: interface `{name}` is an end of a veth, and the other end cannot be seen from here. What is sent \
             there with an unfinished checksum is INVALID here; run `ethtool -K NAME tx off txvlan off` for it"
        )),
        Some(End { name: other, within, unfinished: true }) => Some(format!(
            "port {port}: `{other}`, the other end of interface `{name}`, leaves its checksums unfinished, which AF_XDP cannot \
             tell from wrong ones: TCP and UDP from there are INVALID; run `{within}ethtool -K {other} tx off txvlan off`"
        )),
        Some(_) => None,
    }
}

/// The interface with this number in the namespace that has the number `namespace` here.
fn end_elsewhere(index: u32, namespace: i32) -> Option<End> {
    let (file, within) = namespaces().into_iter().find_map(|(path, within)| {
        let file = File::open(path).ok()?;
        (namespace_id(file.as_fd()) == Some(namespace)).then_some((file, within))
    })?;
    // A thread of its own, for the namespace is a thread's.
    let look = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
        end(index, within)
    });
    look.join().ok().flatten()
}

/// The interface with this number in the calling thread's namespace.
fn end(index: u32, within: String) -> Option<End> {
    let host = Host::this();
    let link = host.links().iter().find(|link| link.index == index)?;
    let fd = sys::question_socket().ok()?;
    let unfinished = ethtool::tx_checksum(fd.as_fd(), &link.name).ok()?;
    Some(End { name: link.name.clone(), within, unfinished })
}

/// The network namespaces with a name, then those of processes, each once; and how to run something in them.
fn namespaces() -> Vec<(PathBuf, String)> {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let named = names("/run/netns").into_iter();
    let named = named.map(|name| (Path::new("/run/netns").join(&name), format!("ip netns exec {name} ")));
    let numbers = names("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let running = numbers.map(|pid| (PathBuf::from(format!("/proc/{pid}/ns/net")), format!("nsenter -t {pid} -n ")));
    let inode = |path: &Path| std::fs::metadata(path).map(|data| data.ino()).ok();
    let mut seen: BTreeSet<u64> = inode(Path::new("/proc/thread-self/ns/net")).into_iter().collect();
    named
        .chain(running)
        .filter(|(path, _)| inode(path).is_some_and(|inode| seen.insert(inode)))
        .take(NAMESPACES)
        .collect()
}
