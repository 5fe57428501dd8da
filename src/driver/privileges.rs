//! Giving up privileges once the ports are open.
//!
//! Capabilities belong to threads: call this on the main thread before any other thread starts, and all
//! later threads inherit what is left.

use caps::{CapSet, Capability};
use std::fmt;

/// Why privileges could not be given up.
#[derive(Debug)]
pub struct PrivilegeError {
    step: &'static str,
    reason: String,
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.step, self.reason)
    }
}

impl std::error::Error for PrivilegeError {}

/// Drops every capability from all five sets, and sets `no_new_privs` so that no program started from
/// here gains any. With `keep_raw` CAP_NET_RAW stays, effective and permitted, so that a port whose
/// device comes back can be reopened. A process without capabilities passes through unchanged.
///
/// # Errors
/// When the kernel refuses; the process should not go on as if nothing had happened.
pub fn drop_privileges(keep_raw: bool) -> Result<(), PrivilegeError> {
    let fault = |step| move |e: caps::errors::CapsError| PrivilegeError { step, reason: e.to_string() };
    let held = caps::read(None, CapSet::Permitted).map_err(fault("read the permitted capabilities"))?;
    // The bounding set matters to programs started from here alone, and only CAP_SETPCAP may shrink it;
    // without it `no_new_privs` below does the same.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(fault("read the effective set"))? {
        for cap in caps::read(None, CapSet::Bounding).map_err(fault("read the bounding set"))? {
            caps::drop(None, CapSet::Bounding, cap).map_err(fault("shrink the bounding set"))?;
        }
    }
    let mut keep = held;
    keep.retain(|cap| keep_raw && *cap == Capability::CAP_NET_RAW);
    caps::clear(None, CapSet::Ambient).map_err(fault("clear the ambient capabilities"))?;
    caps::clear(None, CapSet::Inheritable).map_err(fault("clear the inheritable capabilities"))?;
    caps::set(None, CapSet::Effective, &keep).map_err(fault("drop the effective capabilities"))?;
    caps::set(None, CapSet::Permitted, &keep).map_err(fault("drop the permitted capabilities"))?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|e| PrivilegeError { step: "set no_new_privs", reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Capabilities are per thread, so a thread of its own may lose them.
    #[test]
    fn only_what_is_kept_remains() {
        for keep_raw in [true, false] {
            let could = caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_RAW).unwrap();
            std::thread::spawn(move || {
                drop_privileges(keep_raw).unwrap();
                drop_privileges(keep_raw).unwrap();
                let expected: HashSet<_> =
                    [Capability::CAP_NET_RAW].into_iter().filter(|_| keep_raw && could).collect();
                for set in [CapSet::Effective, CapSet::Permitted] {
                    assert_eq!(caps::read(None, set).unwrap().into_iter().collect::<HashSet<_>>(), expected);
                }
                for set in [CapSet::Inheritable, CapSet::Ambient] {
                    assert!(caps::read(None, set).unwrap().is_empty());
                }
                assert!(rustix::thread::no_new_privs().unwrap());
            })
            .join()
            .unwrap();
        }
    }
}
