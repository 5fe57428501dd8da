//! Sockets by name: what a killed process leaves behind must not stop the next one.

use crate::driver::DpdkDevice;
use rustix::io::Errno;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

/// The socket that a virtual device would make, from DPDK's string for it.
pub(super) fn of_device(text: &str) -> Option<&str> {
    let mut parts = text.split(',');
    let name = parts.next()?;
    let value = |key: &str| parts.clone().find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    if name.starts_with("net_vhost") {
        value("iface").filter(|_| value("client") != Some("1"))
    } else if name.starts_with("net_virtio_user") {
        value("path").filter(|_| value("server") == Some("1"))
    } else if name.starts_with("net_memif") {
        let server = matches!(value("role"), Some("server" | "master"));
        value("socket").filter(|_| server && value("socket-abstract") == Some("no"))
    } else {
        None
    }
}

/// Where a device connects to that does not connect again by itself when its peer has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A socket with a name in the file system.
    File(PathBuf),
    /// One with a name of its own kind (unix(7), abstract).
    Abstract(String),
}

impl Peer {
    /// The peer of a device; `None` for one that waits or that connects by itself.
    pub(super) fn of(device: &DpdkDevice) -> Option<Peer> {
        match device {
            DpdkDevice::VirtioUser { path, server: false } => Some(Peer::File(path.clone())),
            DpdkDevice::Eal(text) => Peer::of_text(text),
            _ => None,
        }
    }

    fn of_text(text: &str) -> Option<Peer> {
        let name = text.split(',').next()?;
        let value = |key: &str| text.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        if name.starts_with("net_virtio_user") {
            // Without a socket it is a device of the kernel's.
            let path = value("path").filter(|path| value("server") != Some("1") && !path.starts_with("/dev/"))?;
            Some(Peer::File(path.into()))
        } else if name.starts_with("net_memif") && !matches!(value("role"), Some("server" | "master")) {
            let path = value("socket").unwrap_or(MEMIF_SOCKET);
            let in_files = value("socket-abstract") == Some("no");
            Some(if in_files { Peer::File(path.into()) } else { Peer::Abstract(path.to_owned()) })
        } else {
            None
        }
    }

    /// Somebody listens there.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Peer::File(path) => listens(UnixStream::connect(path)),
            Peer::Abstract(name) => {
                listens(SocketAddr::from_abstract_name(name).and_then(|name| UnixStream::connect_addr(&name)))
            }
        }
    }
}

/// Whether an attempt to connect met a listener; memif's are of another type than ours.
fn listens(attempt: io::Result<UnixStream>) -> bool {
    attempt.map_or_else(|error| error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()), |_| true)
}

/// Where memif devices meet when nothing else is said.
const MEMIF_SOCKET: &str = "/run/memif.sock";

/// Makes room for a socket named `path`: takes away one that nobody listens at.
///
/// # Errors
/// When somebody does, or the name is something else's, in words.
pub(super) fn clear(path: &Path) -> Result<(), String> {
    let name = path.display();
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{name}: {error}")),
        Ok(found) if !found.file_type().is_socket() => return Err(format!("{name} is there and is no socket")),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| format!("{name} is left from a process that is gone: {error}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        attempt => Err(match attempt.as_ref().err().map(ToString::to_string) {
            Some(error) if !listens(attempt) => format!("{name}: {error}"),
            _ => format!("another process listens at {name}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn sockets_are_found_in_devices() {
        assert_eq!(of_device("net_vhost0,iface=/a,queues=2"), Some("/a"));
        assert_eq!(of_device("net_vhost0,iface=/a,client=1"), None);
        assert_eq!(of_device("net_virtio_user0,path=/a,server=1"), Some("/a"));
        assert_eq!(of_device("net_virtio_user0,path=/a"), None);
        assert_eq!(of_device("net_memif0,role=server,socket=/a,socket-abstract=no"), Some("/a"));
        assert_eq!(of_device("net_memif0,role=server,socket=/a"), None);
        assert_eq!(of_device("net_memif0,socket=/a,socket-abstract=no"), None);
        assert_eq!(of_device("net_null0"), None);
    }

    #[test]
    fn devices_that_must_connect_again_are_known() {
        let of = |text: &str| Peer::of(&DpdkDevice::Eal(text.to_owned()));
        assert_eq!(of("net_memif0,role=client,socket=/a,socket-abstract=no"), Some(Peer::File("/a".into())));
        assert_eq!(of("net_memif0"), Some(Peer::Abstract("/run/memif.sock".into())));
        assert_eq!(of("net_memif0,role=server"), None);
        assert_eq!(of("net_virtio_user0,path=/a"), Some(Peer::File("/a".into())));
        assert_eq!(of("net_virtio_user0,path=/a,server=1"), None);
        assert_eq!(of("net_virtio_user0,path=/dev/vhost-net"), None);
        assert_eq!(of("net_vhost0,iface=/a,client=1"), None);
        let name = format!("flowgate-test-{}", std::process::id());
        let peer = Peer::Abstract(name.clone());
        assert!(!peer.is_there());
        let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
        assert!(peer.is_there());
    }

    #[test]
    fn only_a_socket_without_a_listener_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.sock");
        clear(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert!(clear(&path).unwrap_err().contains("listens"));
        assert!(path.exists());
        drop(listener);
        clear(&path).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "mine").unwrap();
        assert!(clear(&path).unwrap_err().contains("no socket"));
        assert!(path.exists());
    }
}
