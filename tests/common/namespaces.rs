//! Whether tests can have network namespaces here.

use std::process::{Command, Stdio};

/// Only root can, and not the root of every container. Says what is skipped if not.
pub(crate) fn can_be_made(what: &str) -> bool {
    let made = || Command::new("unshare").args(["--net", "--mount", "true"]).stderr(Stdio::null()).status();
    let can = rustix::process::geteuid().is_root() && made().is_ok_and(|status| status.success());
    if !can {
        println!("skipped: {what} needs network namespaces, which this user cannot make here");
    }
    can
}
