//! The device's own settings that AF_XDP needs otherwise: put so while the port is open, and back at its end.

use crate::driver::interface::ethtool::{self, Channels, FLAG_LRO, FLAG_RX_VLAN};
use crate::driver::interface::{Device, sys};
use crate::driver::{OpenError, PortSpec, privileges};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use tracing::info;

/// For sockets that were just closed to let go of their queues: the kernel does that later, when nobody else configures
/// its interfaces.
const LET_GO: Duration = Duration::from_secs(2);

/// Puts back what was changed when it is dropped.
pub(super) struct Restore {
    fd: OwnedFd,
    name: String,
    ifindex: u32,
    channels: Option<Channels>,
    flags: Option<u32>,
    gro: bool,
}

impl Drop for Restore {
    fn drop(&mut self) {
        let fd = self.fd.as_fd();
        // Another device may have the name by now.
        if !Device::named(fd, &self.name).is_ok_and(|device| device.ifindex == self.ifindex) {
            return;
        }
        privileges::with_admin(|| {
            if let Some(channels) = &self.channels {
                // The kernel lets go of queues whose sockets were just closed in its own time.
                let deadline = Instant::now() + LET_GO;
                while ethtool::set_channels(fd, &self.name, channels).is_err() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            if let Some(flags) = self.flags {
                let _ = ethtool::set_flags(fd, &self.name, flags);
            }
            if self.gro {
                let _ = ethtool::set_gro(fd, &self.name, true);
            }
        });
    }
}

/// One receive queue per worker, and nothing that puts frames together or takes their tags away: a socket is not told
/// of either.
pub(super) fn prepare(spec: &PortSpec, name: &str, device: &Device) -> Result<Restore, OpenError> {
    let fault = |step| super::fault(spec, step);
    let fd = sys::question_socket().map_err(fault("open a socket"))?;
    let mut restore =
        Restore { fd, name: name.to_owned(), ifindex: device.ifindex, channels: None, flags: None, gro: false };
    let fd = restore.fd.as_fd();
    restore.channels = channels(spec, name, fd)?;
    let mut switched = Vec::new();
    if let Ok(flags) = ethtool::flags(fd, name) {
        let off = flags & (FLAG_LRO | FLAG_RX_VLAN);
        if off != 0 && ethtool::set_flags(fd, name, flags & !off).is_ok() {
            restore.flags = Some(flags);
            switched.extend((off & FLAG_LRO != 0).then_some("lro"));
            switched.extend((off & FLAG_RX_VLAN != 0).then_some("rxvlan"));
        }
    }
    if ethtool::gro(fd, name) == Ok(true) && ethtool::set_gro(fd, name, false).is_ok() {
        restore.gro = true;
        switched.push("gro");
    }
    if !switched.is_empty() {
        info!(
            "port {}: switched {} of interface `{name}` off for as long as it is ours",
            spec.name,
            switched.join(", ")
        );
    }
    Ok(restore)
}

/// Gives the device as many queues as there are workers. What it had, if that was something else.
fn channels(spec: &PortSpec, name: &str, fd: BorrowedFd<'_>) -> Result<Option<Channels>, OpenError> {
    let wanted = spec.queues as u32;
    let unfit = |why: String| OpenError::Unfit { port: spec.name.clone(), device: name.to_owned(), why };
    let Ok(had) = ethtool::channels(fd, name) else {
        // It cannot be asked: it has one.
        return if wanted == 1 {
            Ok(None)
        } else {
            Err(unfit(format!(
                "it has 1 queue for {wanted} workers, and each needs one; set `workers: {{ count: 1 }}`"
            )))
        };
    };
    if had.receive() == wanted && had.transmit() >= wanted {
        return Ok(None);
    }
    if had.most() < wanted {
        let most = had.most();
        return Err(unfit(format!(
            "it can have {most} queues at most for {wanted} workers, and each needs one; set `workers: {{ count: {most} }}`"
        )));
    }
    let (new, words) = had.with(wanted);
    match ethtool::set_channels(fd, name, &new) {
        Ok(()) => {
            let count = had.receive();
            info!(
                "port {}: interface `{name}` has {wanted} queues now, one for each worker; it had {count}",
                spec.name
            );
            Ok(Some(had))
        }
        Err(Errno::PERM) => Err(super::fault(spec, "set the number of queues")(Errno::PERM)),
        Err(error) => Err(unfit(format!(
            "it has {} queues for {wanted} workers, and `ethtool -L {name} {words}` is refused ({error}); the other end of a \
             veth must not have more queues than this one",
            had.receive()
        ))),
    }
}
