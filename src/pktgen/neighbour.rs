//! ARP and neighbour discovery, as far as a host needs them: answering for its addresses, and asking for its next hops.

use crate::frame::{Frame, Pool};
use crate::net::{Addr, Family, MacAddr};
use crate::wire::{Link, Parsed, arp, nd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Addresses of one port that belong to the generator.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// First address and how many follow it, itself included.
    ranges: Vec<(Family, Addr, u32)>,
}

impl Own {
    /// Adds a range.
    pub fn add(&mut self, family: Family, first: Addr, count: u32) {
        self.ranges.push((family, first, count));
    }

    fn has(&self, family: Family, address: Addr) -> bool {
        self.ranges.iter().any(|(of, first, count)| {
            *of == family && address.hi == first.hi && address.lo.wrapping_sub(first.lo) < u64::from(*count)
        })
    }
}

/// A neighbour whose link address is wanted.
#[derive(Debug)]
pub struct Target {
    /// Index of the port it is behind.
    pub port: usize,
    /// Address family.
    pub family: Family,
    /// Its address.
    pub address: Addr,
    /// In whose name it is asked for.
    pub asker: Addr,
    /// Its link address with [`KNOWN`], once it is known. Written by whichever worker gets the answer.
    mac: AtomicU64,
}

/// Marks a link address that is known.
const KNOWN: u64 = 1 << 63;

impl Target {
    /// Nothing known yet.
    #[must_use]
    pub const fn new(port: usize, family: Family, address: Addr, asker: Addr) -> Target {
        Target { port, family, address, asker, mac: AtomicU64::new(0) }
    }

    /// Its link address, if it has answered.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        let word = self.mac.load(Ordering::Acquire);
        let [_, _, a, b, c, d, e, f] = word.to_be_bytes();
        (word & KNOWN != 0).then_some(MacAddr([a, b, c, d, e, f]))
    }

    fn learn(&self, MacAddr([a, b, c, d, e, f]): MacAddr) {
        self.mac.store(KNOWN | u64::from_be_bytes([0, 0, a, b, c, d, e, f]), Ordering::Release);
    }

    /// The question for it, from `mac`.
    #[must_use]
    pub fn question(&self, mac: MacAddr, pool: &Pool) -> Option<Frame> {
        let mut frame = pool.alloc()?;
        frame.set_len(ROOM);
        let len = match self.family {
            Family::V4 => {
                let ask = arp::Arp::request(mac, self.asker, self.address);
                ask.write(frame.data_mut(), ask.link())?
            }
            Family::V6 => nd::solicitation(frame.data_mut(), mac, self.asker, self.address, None)?,
        };
        frame.set_len(len);
        Some(frame)
    }
}

/// Octets of the largest message made here.
const ROOM: usize = 128;

/// What became of a frame.
#[derive(Debug)]
pub enum Heard {
    /// It is none of this.
    Other,
    /// Noted, or nothing to do.
    Nothing,
    /// This is the answer.
    Answer(Frame),
}

/// Reads a frame that came in by `port`, whose own link address is `mac`.
pub fn hear(
    data: &[u8],
    parsed: &Parsed,
    (port, mac): (usize, MacAddr),
    own: &Own,
    targets: &[Target],
    pool: &Pool,
) -> Heard {
    let learn = |family: Family, address: Addr, of: MacAddr| {
        let wanted = |t: &&Target| t.port == port && t.family == family && t.address == address;
        targets.iter().filter(wanted).for_each(|target| target.learn(of));
    };
    let answer = |write: &mut dyn FnMut(&mut [u8]) -> Option<usize>| {
        let Some(mut frame) = pool.alloc() else { return Heard::Nothing };
        frame.set_len(ROOM);
        let Some(len) = write(frame.data_mut()) else { return Heard::Nothing };
        frame.set_len(len);
        Heard::Answer(frame)
    };
    if parsed.kind == crate::wire::Kind::Arp {
        let Some(heard) = arp::parse(data, parsed) else { return Heard::Nothing };
        learn(Family::V4, heard.sender, heard.sender_mac);
        if heard.op == arp::ArpOp::Request && own.has(Family::V4, heard.target) {
            let reply = heard.answer(mac);
            return answer(&mut |out| reply.write(out, reply.link()));
        }
        return Heard::Nothing;
    }
    match nd::parse(data, parsed) {
        Some(nd::Neighbour::Advertisement { target, target_mac: Some(of), .. }) => {
            learn(Family::V6, target, of);
            Heard::Nothing
        }
        Some(nd::Neighbour::Solicitation { target, source_mac }) if own.has(Family::V6, target) => {
            let asker = parsed.summary.tuple.src;
            let dst = source_mac.unwrap_or_else(|| crate::wire::link_addresses(data).1);
            answer(&mut |out| nd::advertisement(out, Link { dst, src: mac }, target, asker))
        }
        Some(_) => Heard::Nothing,
        None => Heard::Other,
    }
}
