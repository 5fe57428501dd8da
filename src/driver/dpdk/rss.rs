//! Whether the device's own hash sends each packet to the worker that owns it.
//!
//! The control plane says by which key and which table it would (`DpdkSteering`); this asks the device for exactly that,
//! reads back what it took, and believes only what it read. A device that steers otherwise costs hand-offs between workers
//! and never a second connection, so every doubt counts as "no".

use super::ffi::{self, Port, raw};
use crate::driver::DpdkSteering;
use std::fmt;

/// Every kind of packet, hashed by its addresses, and TCP and UDP by their ports too.
const TYPES: u64 = raw::FG_RSS_ADDRESSES4
    | raw::FG_RSS_ADDRESSES6
    | raw::FG_RSS_TCP4
    | raw::FG_RSS_UDP4
    | raw::FG_RSS_TCP6
    | raw::FG_RSS_UDP6;

/// Kinds that a device may lack without a packet going astray: what is neither TCP nor UDP, or a fragment, is hashed by
/// its addresses under any of the names for it.
const ESSENTIAL: u64 = raw::FG_RSS_TCP4 | raw::FG_RSS_UDP4 | raw::FG_RSS_TCP6 | raw::FG_RSS_UDP6;

/// What a device says of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) types: u64,
    pub(super) key_size: u16,
    pub(super) table_size: u16,
}

impl From<&ffi::Offer> for Offer {
    fn from(offer: &ffi::Offer) -> Offer {
        Offer { types: offer.rss_types, key_size: offer.key_size, table_size: offer.table_size }
    }
}

/// What the device is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Kinds of packets to hash; 0 for no hash.
    pub(super) types: u64,
    pub(super) key: Vec<u8>,
    /// Queue of each value of the hash, modulo the length.
    pub(super) table: Vec<u16>,
    /// Why it will not be the owner's function, whatever the device takes.
    doubt: Option<String>,
    queues: usize,
}

/// How frames come to their queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Steering {
    /// There is one queue.
    OneQueue,
    /// To the worker that owns the connection.
    Exact,
    /// By the device's hash, which is not the owner's function, for this reason.
    Hash(String),
    /// As the peer or the device likes, for this reason.
    Unknown(String),
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Steering::OneQueue => f.write_str("one queue"),
            Steering::Exact => f.write_str("the device's hash sends each connection to its owner"),
            Steering::Hash(why) => write!(f, "the device's hash spreads the frames and workers hand them on: {why}"),
            Steering::Unknown(why) => write!(f, "frames come to any queue and workers hand them on: {why}"),
        }
    }
}

/// Decides what to ask for, with so many receive queues.
pub(super) fn plan(offer: &Offer, queues: usize, wanted: Option<&DpdkSteering>) -> Plan {
    let none = |doubt: Option<&str>| Plan { doubt: doubt.map(str::to_owned), queues, ..Plan::default() };
    if queues <= 1 {
        return none(None);
    }
    let Some(wanted) = wanted else { return none(Some("`dispatch: software`")) };
    let types = offer.types & TYPES;
    if types == 0 {
        return none(Some("the device has no hash"));
    }
    // A device that does not say takes 40 octets.
    let size = if offer.key_size == 0 { 40 } else { usize::from(offer.key_size) };
    let Some(key) = wanted.key.get(..size) else {
        return none(Some("the device's key has another length"));
    };
    let (table, fits) = table(usize::from(offer.table_size), &wanted.owners, queues);
    let doubt = if types & ESSENTIAL != ESSENTIAL {
        Some("it does not hash the ports of every TCP and UDP packet")
    } else if offer.table_size == 0 {
        Some("its table cannot be set")
    } else if !fits {
        Some("its table cannot name every owner")
    } else {
        None
    };
    Plan { types, key: key.to_vec(), table, doubt: doubt.map(str::to_owned), queues }
}

/// A table of `size` entries that does as `owners` does, and whether that was possible.
fn table(size: usize, owners: &[u16], queues: usize) -> (Vec<u16>, bool) {
    let mut fits = !owners.is_empty() && owners.iter().all(|owner| usize::from(*owner) < queues);
    let entry = |entry: usize| {
        // Every value of the hash that comes to this entry, up to where both tables begin anew together.
        let mut values = (entry..size * owners.len()).step_by(size.max(1));
        let owner = |value: usize| owners.get(value % owners.len()).copied().unwrap_or(0);
        let first = values.next().map_or(0, owner);
        fits &= values.all(|value| owner(value) == first);
        (usize::from(first) % queues.max(1)) as u16
    };
    let table = (0..size).map(entry).collect();
    (table, fits)
}

/// What was read back from the device; `None` where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) hash: Option<(Vec<u8>, u64)>,
    pub(super) table: Option<Vec<u16>>,
}

/// What the device does, from what was asked and what it says it took.
pub(super) fn judge(plan: &Plan, found: &Found) -> Steering {
    if plan.queues <= 1 {
        return Steering::OneQueue;
    }
    if plan.types == 0 {
        return Steering::Unknown(plan.doubt.clone().unwrap_or_default());
    }
    let doubt = match (&plan.doubt, &found.hash, &found.table) {
        (Some(doubt), ..) => doubt.as_str(),
        (None, None, _) => "the device does not say which key it has",
        (None, _, None) => "the device does not say which table it has",
        (None, Some((key, _)), _) if *key != plan.key => "the device has another key than it was given",
        (None, Some((_, types)), _) if *types != plan.types => "the device hashes other kinds of packets than asked",
        (None, _, Some(table)) if *table != plan.table => "the device has another table than it was given",
        (None, Some(_), Some(_)) => return Steering::Exact,
    };
    Steering::Hash(doubt.to_owned())
}

/// Writes the table of a running port and finds out what it does.
pub(super) fn apply(port: Port, plan: &Plan) -> Steering {
    if plan.queues <= 1 || plan.types == 0 {
        return judge(plan, &Found::default());
    }
    if !plan.table.is_empty() {
        // If it refuses, the table read back says so.
        let _ = port.write_table(&plan.table);
    }
    let found = Found {
        hash: port.read_hash(plan.key.len() as u16).ok(),
        table: port.read_table(plan.table.len() as u16).ok(),
    };
    judge(plan, &found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer = Offer { types: u64::MAX, key_size: 40, table_size: 128 };

    fn wanted(workers: u16) -> DpdkSteering {
        let key = [0x6d, 0x5a].into_iter().cycle().take(52).collect();
        DpdkSteering { key, owners: (0..128).map(|entry| entry % workers).collect() }
    }

    fn faithful(plan: &Plan) -> Found {
        Found { hash: Some((plan.key.clone(), plan.types)), table: Some(plan.table.clone()) }
    }

    fn outcome(offer: Offer, queues: u16) -> (Plan, Steering) {
        let plan = plan(&offer, usize::from(queues), Some(&wanted(queues)));
        let steering = judge(&plan, &faithful(&plan));
        (plan, steering)
    }

    #[test]
    fn a_nic_that_takes_key_and_table_is_believed() {
        for (key_size, table_size, queues) in
            [(40, 128, 2), (40, 128, 3), (52, 512, 7), (52, 64, 4), (0, 128, 2), (40, 384, 5)]
        {
            let (plan, steering) = outcome(Offer { key_size, table_size, ..OFFER }, queues);
            assert_eq!(steering, Steering::Exact, "{key_size} {table_size} {queues}");
            assert_eq!(plan.key.len(), usize::from(if key_size == 0 { 40 } else { key_size }));
            // Whatever the hash, the queue is the owner.
            let owners = wanted(queues).owners;
            for hash in 0..u32::from(u16::MAX) {
                let queue = plan.table[hash as usize % plan.table.len()];
                assert_eq!(queue, owners[hash as usize % owners.len()], "{hash}");
            }
        }
    }

    #[test]
    fn every_doubt_counts() {
        let hash = |offer, queues| matches!(outcome(offer, queues).1, Steering::Hash(_));
        assert!(hash(Offer { table_size: 64, ..OFFER }, 3));
        assert!(hash(Offer { table_size: 0, ..OFFER }, 2));
        assert!(hash(Offer { types: TYPES & !raw::FG_RSS_UDP6, ..OFFER }, 2));
        let unknown = |offer, queues| matches!(outcome(offer, queues).1, Steering::Unknown(_));
        assert!(unknown(Offer { types: 0, ..OFFER }, 2));
        assert!(unknown(Offer { key_size: 64, ..OFFER }, 2));
        assert_eq!(outcome(OFFER, 1).1, Steering::OneQueue);

        let (plan, exact) = outcome(OFFER, 2);
        assert_eq!(exact, Steering::Exact);
        let spoil = |spoil: fn(&mut Found)| {
            let mut found = faithful(&plan);
            spoil(&mut found);
            judge(&plan, &found)
        };
        let spoiled = [
            spoil(|found| found.hash = None),
            spoil(|found| found.table = None),
            spoil(|found| found.hash.as_mut().unwrap().0[39] ^= 1),
            spoil(|found| found.hash.as_mut().unwrap().1 &= !raw::FG_RSS_TCP4),
            spoil(|found| found.table.as_mut().unwrap()[127] = 0),
        ];
        assert!(spoiled.iter().all(|steering| matches!(steering, Steering::Hash(_))), "{spoiled:?}");
    }

    #[test]
    fn fewer_queues_than_workers_are_not_exact() {
        let plan = plan(&OFFER, 2, Some(&wanted(4)));
        assert!(matches!(judge(&plan, &faithful(&plan)), Steering::Hash(_)));
        assert!(plan.table.iter().all(|queue| *queue < 2));
    }

    #[test]
    fn software_dispatch_asks_for_nothing() {
        let plan = plan(&OFFER, 2, None);
        assert_eq!((plan.types, plan.key.len()), (0, 0));
        assert!(matches!(judge(&plan, &Found::default()), Steering::Unknown(_)));
    }
}
