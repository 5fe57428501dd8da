//! Which helper a new connection gets.

use super::{Class, Helper, HelperKind, Settings};
use crate::net::{PortId, Tuple};
use ipnet::IpNet;

/// One entry of the configuration's `helpers`. An empty list means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperConfig {
    /// The operator's name for it, used in metrics and listings.
    pub name: String,
    /// Which helper.
    pub kind: HelperKind,
    /// Destination ports of the connections it is attached to.
    pub ports: Vec<u16>,
    /// Ports the first packet may have come in by.
    pub iif: Vec<PortId>,
    /// Destination addresses.
    pub daddr: Vec<IpNet>,
    /// IP protocol number.
    pub l4proto: u8,
    /// Expectations of each class that one connection may have open; `None` where the helper's classes differ.
    pub max_expected: Option<u8>,
    /// Lifetime of an expectation in milliseconds; `None` where the helper's classes differ.
    pub timeout_ms: Option<u32>,
    /// Options of the helper.
    pub settings: Settings,
}

impl HelperConfig {
    /// The entry that sets nothing but the helper: its usual protocol, port and limits.
    #[must_use]
    pub fn usual(name: &str, kind: HelperKind) -> Self {
        let defaults = kind.helper().defaults();
        let only = match defaults.classes {
            [only] => Some(only),
            _ => None,
        };
        HelperConfig {
            name: name.to_owned(),
            kind,
            ports: vec![defaults.port],
            iif: Vec::new(),
            daddr: Vec::new(),
            l4proto: defaults.l4proto.first().copied().unwrap_or_default(),
            max_expected: only.map(|class| class.max_expected),
            timeout_ms: only.map(|class| class.timeout_ms),
            settings: Settings::default(),
        }
    }

    /// Limits of one class of expectations.
    #[must_use]
    pub fn class(&self, class: u8) -> Class {
        let classes = self.kind.helper().defaults().classes;
        let usual = classes.get(usize::from(class)).or(classes.first()).copied();
        let usual = usual.unwrap_or(Class { max_expected: 1, timeout_ms: 1000 });
        Class {
            max_expected: self.max_expected.unwrap_or(usual.max_expected),
            timeout_ms: self.timeout_ms.unwrap_or(usual.timeout_ms),
        }
    }

    fn fits(&self, tuple: &Tuple, iif: PortId) -> bool {
        self.l4proto == tuple.proto
            && (self.ports.is_empty() || self.ports.contains(&tuple.dst_key))
            && (self.iif.is_empty() || self.iif.contains(&iif))
            && self.kind.helper().matches(tuple)
            && (self.daddr.is_empty() || {
                let dst = tuple.dst.to_ip(tuple.family);
                self.daddr.iter().any(|net| net.contains(&dst))
            })
    }
}

/// A configured helper, numbered in the order of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HelperId(pub u8);

/// The configured helpers. Part of a snapshot: read only.
#[derive(Clone, Debug, Default)]
pub struct Attach {
    configs: Vec<HelperConfig>,
}

impl Attach {
    /// From the configuration's entries; those beyond the 256th have no number and are left out.
    #[must_use]
    pub fn new(mut configs: Vec<HelperConfig>) -> Self {
        configs.truncate(usize::from(u8::MAX) + 1);
        Attach { configs }
    }

    /// The helper for a connection whose first packet carries `tuple` and came in by `iif`: the first entry
    /// that fits, in file order. Asked once per connection; one that exists never gets a helper later.
    #[inline]
    #[must_use]
    pub fn pick(&self, tuple: &Tuple, iif: PortId) -> Option<HelperId> {
        if self.configs.is_empty() { None } else { self.first_fit(tuple, iif) }
    }

    fn first_fit(&self, tuple: &Tuple, iif: PortId) -> Option<HelperId> {
        self.configs.iter().position(|config| config.fits(tuple, iif)).map(|i| HelperId(i as u8))
    }

    /// The entry of that number; `None` if a reload removed it.
    #[must_use]
    pub fn get(&self, id: HelperId) -> Option<&HelperConfig> {
        self.configs.get(usize::from(id.0))
    }

    /// The code of that entry.
    #[must_use]
    pub fn helper(&self, id: HelperId) -> Option<&'static dyn Helper> {
        self.get(id).map(|config| config.kind.helper())
    }

    /// All entries, in file order.
    #[must_use]
    pub fn configs(&self) -> &[HelperConfig] {
        &self.configs
    }
}

#[cfg(test)]
mod tests;
