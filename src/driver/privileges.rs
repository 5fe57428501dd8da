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

/// What is kept for a device that comes back, and for settings that are put back at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// CAP_NET_RAW, in effect: packet sockets are opened anew.
    Raw,
    /// CAP_NET_RAW, and at hand but not in effect what AF_XDP sockets need to be opened anew.
    Admin,
}

/// What [`with_admin`] raises.
const ADMIN: [Capability; 3] = [Capability::CAP_NET_ADMIN, Capability::CAP_BPF, Capability::CAP_IPC_LOCK];

/// [`drop_to`] with [`Keep::Raw`] or [`Keep::Nothing`].
///
/// # Errors
/// As for [`drop_to`].
pub fn drop_privileges(keep_raw: bool) -> Result<(), PrivilegeError> {
    drop_to(if keep_raw { Keep::Raw } else { Keep::Nothing })
}

/// Drops every capability but what is kept from all five sets, and sets `no_new_privs` so that no program started from
/// here gains any. A process without capabilities passes through unchanged.
///
/// # Errors
/// When the kernel refuses; the process should not go on as if nothing had happened.
pub fn drop_to(what: Keep) -> Result<(), PrivilegeError> {
    let fault = |step| move |e: caps::errors::CapsError| PrivilegeError { step, reason: e.to_string() };
    let held = caps::read(None, CapSet::Permitted).map_err(fault("read the permitted capabilities"))?;
    // The bounding set matters to programs started from here alone, and only CAP_SETPCAP may shrink it;
    // without it `no_new_privs` below does the same.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(fault("read the effective set"))? {
        for cap in caps::read(None, CapSet::Bounding).map_err(fault("read the bounding set"))? {
            caps::drop(None, CapSet::Bounding, cap).map_err(fault("shrink the bounding set"))?;
        }
    }
    let mut effective = held.clone();
    effective.retain(|cap| what >= Keep::Raw && *cap == Capability::CAP_NET_RAW);
    let mut permitted = held;
    permitted.retain(|cap| effective.contains(cap) || what == Keep::Admin && ADMIN.contains(cap));
    caps::clear(None, CapSet::Ambient).map_err(fault("clear the ambient capabilities"))?;
    caps::clear(None, CapSet::Inheritable).map_err(fault("clear the inheritable capabilities"))?;
    caps::set(None, CapSet::Effective, &effective).map_err(fault("drop the effective capabilities"))?;
    caps::set(None, CapSet::Permitted, &permitted).map_err(fault("drop the permitted capabilities"))?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|e| PrivilegeError { step: "set no_new_privs", reason: e.to_string() })
}

/// Does something with what [`Keep::Admin`] left at hand in effect, on this thread and only so long. Where nothing is at
/// hand, the kernel refuses what it refuses.
pub(super) fn with_admin<T>(act: impl FnOnce() -> T) -> T {
    let is = |set, cap| caps::has_cap(None, set, cap).unwrap_or(false);
    let raised: Vec<_> =
        ADMIN.into_iter().filter(|cap| !is(CapSet::Effective, *cap) && is(CapSet::Permitted, *cap)).collect();
    for cap in &raised {
        let _ = caps::raise(None, CapSet::Effective, *cap);
    }
    let result = act();
    for cap in raised {
        let _ = caps::drop(None, CapSet::Effective, cap);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_is_at_hand_is_in_effect_only_when_it_is_needed() {
        if !caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_ADMIN).unwrap() {
            println!("skipped: CAP_NET_ADMIN is not held");
            return;
        }
        std::thread::spawn(|| {
            drop_to(Keep::Admin).unwrap();
            let in_effect = || caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap();
            assert!(!in_effect());
            assert!(with_admin(in_effect));
            assert!(!in_effect());
            drop_to(Keep::Nothing).unwrap();
            assert!(!with_admin(in_effect));
        })
        .join()
        .unwrap();
    }

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
