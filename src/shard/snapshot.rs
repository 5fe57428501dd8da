//! The configuration in force, compiled and immutable; all shards share one.

use crate::conntrack::proto::Settings;
use crate::helper::Attach;
use crate::net::{MacAddr, PortId, Zone};
use crate::policy::Ruleset;
use crate::route::Fib;
use crate::steer::Quotas;

/// What the packet path needs to know of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    /// Configured name.
    pub name: String,
    /// The router's link address there.
    pub mac: MacAddr,
    /// Frames to other unicast link addresses are not for the router. Off in a replay, whose captures may
    /// come from any machine.
    pub check_destination: bool,
    /// Largest IP packet, in octets.
    pub mtu: u32,
    /// VLAN identifiers frames carry there, outermost first; none for an untagged port.
    pub vlan: Vec<u16>,
    /// The port sends frames whose transport checksum is still partial; else the shard finishes it.
    pub tx_checksum_partial: bool,
    /// The port sends super-frames; else the shard cuts them.
    pub tx_gso: bool,
}

/// Everything compiled from one configuration file.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of the configuration; grows by one with each reload.
    pub epoch: u64,
    /// Policy.
    pub ruleset: Ruleset,
    /// Routes and local addresses.
    pub fib: Fib,
    /// Ports, by number.
    pub ports: Vec<PortView>,
    /// Settings of the protocol trackers.
    pub tracking: Settings,
    /// Give up connections that are not assured when the table is full.
    pub evict: bool,
    /// Verify transport checksums (netfilter's `nf_conntrack_checksum`).
    pub verify: bool,
    /// Which connections get a helper.
    pub helpers: Attach,
    /// Conntrack zones by ingress port; `None` if all are in the default zone.
    pub zones: Option<Box<[Zone]>>,
    /// Most connections of sources and zones.
    pub quotas: Quotas,
    /// ICMP errors a shard may send, per second and at once.
    pub icmp_limit: (u32, u32),
    /// Every next hop answers at once, with a made-up address: for replays, where nobody can be asked.
    pub assume_neighbours: bool,
}

impl Snapshot {
    /// The octet of the epoch that entries keep.
    #[inline]
    #[must_use]
    pub const fn epoch_octet(&self) -> u8 {
        self.epoch as u8
    }

    /// The zone of what comes in by a port.
    #[inline]
    #[must_use]
    pub fn zone(&self, ingress: PortId) -> Zone {
        let zones = self.zones.as_deref().unwrap_or_default();
        zones.get(ingress.index()).copied().unwrap_or_default()
    }

    /// A port of this configuration.
    #[inline]
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&PortView> {
        self.ports.get(id.index())
    }
}
