//! A device whose attaching waits for its peer: DPDK accepts the backend of a virtio-user server before it has a port.

use super::Fault;
use super::ffi::{self, Port};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use std::path::PathBuf;
use std::thread::Builder;
use std::time::Duration;

/// Until a socket that cannot be made is known to be so, and a peer that is there already has connected.
const FIRST: Duration = Duration::from_millis(200);

/// What is known after a while.
pub(super) enum Attaching {
    Done(Port),
    Waits(Pending),
}

/// The wait for a peer. Dropped before it comes, it takes the socket away.
pub(super) struct Pending {
    result: Receiver<Result<Port, Fault>>,
    path: PathBuf,
}

impl Pending {
    /// Starts to attach the device, on a thread that waits as long as it takes.
    pub(super) fn begin(device: String, path: PathBuf) -> Result<Attaching, Fault> {
        // The device is in EAL's list long before its peer comes; nobody else should wait for that.
        let _devices = ffi::hold_devices();
        let (tell, result) = bounded(1);
        let attach = move || {
            if let Err(error) = crate::driver::privileges::drop_privileges(false) {
                tracing::error!("a thread that waits for a peer keeps its privileges: {error}");
            }
            let _ = tell.send(Port::attach_held(&device).map_err(Fault::at("attach the device")));
        };
        Builder::new().name("vhost peer".to_owned()).spawn(attach).map_err(Fault::at("start a thread"))?;
        let pending = Pending { result, path };
        match pending.result.recv_timeout(FIRST) {
            Ok(Ok(port)) => Ok(Attaching::Done(port)),
            Ok(Err(fault)) => Err(fault),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(Attaching::Waits(pending)),
        }
    }

    /// The port, once the peer has come.
    pub(super) fn take(&self) -> Option<Result<Port, Fault>> {
        self.result.try_recv().ok()
    }

    /// Takes the socket away; the thread ends with the process.
    pub(super) fn give_up(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
