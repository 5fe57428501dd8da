//! What a reload cannot change.

use crate::config::Settings;
use crate::config::settings::{Driver, Port};

/// The keys in which `new` differs from `old` and that are fixed when a run starts. Empty: a reload does.
#[must_use]
pub fn needs_restart(old: &Settings, new: &Settings) -> Vec<String> {
    let mut keys = Vec::new();
    let mut note = |changed: bool, key: &str| {
        if changed {
            keys.push(key.to_owned());
        }
    };
    let workers = old.workers != new.workers;
    note(workers, "workers");
    let names = |settings: &Settings| settings.ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    if names(old) == names(new) {
        for (old, new) in old.ports.iter().zip(&new.ports) {
            // How many queues a port has follows from the workers where the file does not say.
            let queues = old.queues != new.queues && !workers;
            for (key, changed) in [("queues", queues)].into_iter().chain(fixed(old, new)) {
                note(changed, &format!("ports.{}.{key}", old.name));
            }
        }
    } else {
        note(true, "ports");
    }
    let helpers = |settings: &Settings| settings.helpers.iter().map(|h| h.name.clone()).collect::<Vec<_>>();
    note(helpers(old) != helpers(new), "helpers (their names and order)");
    let (ct, next) = (&old.conntrack, &new.conntrack);
    note(ct.max_entries != next.max_entries, "conntrack.max_entries");
    note(ct.expect_max != next.expect_max, "conntrack.expect_max");
    note(ct.timeouts.frag4 != next.timeouts.frag4, "conntrack.timeouts.frag4");
    note(ct.timeouts.frag6 != next.timeouts.frag6, "conntrack.timeouts.frag6");
    note(old.fragments != new.fragments, "fragments");
    note(old.neigh != new.neigh, "neigh");
    note(old.metrics != new.metrics, "metrics");
    note(old.log != new.log, "log");
    keys
}

fn fixed(old: &Port, new: &Port) -> [(&'static str, bool); 5] {
    let mode = match (&old.driver, &new.driver) {
        (Driver::AfXdp { device, mode }, Driver::AfXdp { device: same, mode: other }) => {
            device == same && mode != other
        }
        _ => false,
    };
    [
        ("driver", old.driver != new.driver && !mode),
        ("xdp_mode", mode),
        ("ring", old.ring != new.ring),
        ("mtu", old.mtu != new.mtu),
        ("mac", old.mac != new.mac),
    ]
}
