//! The segments a connection's ends send: their headers, their data, and what is spoilt in them on purpose.

use super::{Engine, FAR, HEADER, PERIOD, Side, WINDOW};
use crate::net::{Family, MacAddr, TcpFlags, Tuple};
use crate::pktgen::plan::network_end;
use crate::wire::checksum::{fold, pseudo, sum};

/// Octets of a header with the options of a SYN: MSS and window scale, padded.
const SYN_HEADER: usize = 28;

/// Why a segment is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pktgen) enum Spoilt {
    /// Wrong checksum.
    Checksum,
    /// Flags no TCP sends together.
    Flags,
    /// Half the circle away from every window.
    Window,
    /// Of no connection: nobody asked for it.
    Tuple,
}

/// Takes a segment's bytes: which side sends it, how many octets, and what writes them. False if there was no room.
pub(in crate::pktgen) type Emit<'a> = dyn FnMut((Side, Option<Spoilt>), usize, &mut Bytes<'_>) -> bool + 'a;

/// Writes a frame.
pub(in crate::pktgen) type Bytes<'a> = dyn FnMut(&mut [u8]) + 'a;

impl Engine {
    pub(super) fn reset(&mut self, place: usize, side: Side, emit: &mut Emit<'_>) {
        let Some(slot) = self.slots.get(place) else { return };
        let end = *slot.get(side);
        let number = slot.tuple.wrapping_sub(1);
        let header = Header {
            seq: end.iss.wrapping_add(end.next),
            ack: if end.received > 0 { end.irs.wrapping_add(end.received) } else { 0 },
            flags: TcpFlags::RST | if end.received > 0 { TcpFlags::ACK } else { 0 },
        };
        self.write((number, side), header, (0, 0), None, emit);
    }

    /// Sends a piece of an end's stream; now and then a spoilt segment goes ahead of it.
    pub(super) fn send(&mut self, place: usize, side: Side, cut: Cut, emit: &mut Emit<'_>) -> bool {
        let Some(slot) = self.slots.get(place) else { return false };
        let end = *slot.get(side);
        let number = slot.tuple.wrapping_sub(1);
        let mut flags = if end.received > 0 { TcpFlags::ACK } else { 0 };
        flags |= if cut.syn { TcpFlags::SYN } else { 0 };
        flags |= if cut.fin { TcpFlags::FIN } else { 0 };
        flags |= if cut.len > 0 { TcpFlags::PSH } else { 0 };
        let header = Header {
            seq: end.iss.wrapping_add(cut.offset),
            ack: if end.received > 0 { end.irs.wrapping_add(end.received) } else { 0 },
            flags,
        };
        if !cut.syn && self.spoil.hit() {
            self.kind = self.kind.wrapping_add(1);
            let how = [Spoilt::Checksum, Spoilt::Flags, Spoilt::Window][self.kind as usize % 3];
            self.write((number, side), header, (cut.offset, cut.len), Some(how), emit);
        }
        self.write((number, side), header, (cut.offset, cut.len), None, emit)
    }

    pub(super) fn write(
        &self,
        (number, side): (u64, Side),
        mut header: Header,
        (offset, len): (u32, u32),
        spoilt: Option<Spoilt>,
        emit: &mut Emit<'_>,
    ) -> bool {
        let client = self.space.tuple(number);
        let (tuple, link) = match side {
            Side::Client => (client, self.links[0]),
            Side::Server => (client.inverse().unwrap_or(client), self.links[1]),
        };
        let src_key = if spoilt == Some(Spoilt::Tuple) { self.stranger() } else { tuple.src_key };
        let tuple = Tuple { src_key, ..tuple };
        match spoilt {
            // SYN and FIN together, which no TCP sends.
            Some(Spoilt::Flags) => header.flags |= TcpFlags::SYN | TcpFlags::FIN,
            Some(Spoilt::Window) => header.seq = header.seq.wrapping_add(FAR),
            _ => {}
        }
        let syn = header.flags & TcpFlags::SYN != 0 && spoilt.is_none();
        let own = if syn { SYN_HEADER } else { HEADER };
        let l4 = network_end(self.space.family);
        let start = (offset as usize).wrapping_sub(1) % PERIOD;
        let data = if len == 0 { &[][..] } else { self.content.get(start..start + len as usize).unwrap_or_default() };
        let mss = self.mss as u16;
        emit((side, spoilt), l4 + own + data.len(), &mut |out| {
            network_header(out, &tuple, link, own + data.len());
            let Some(transport) = out.get_mut(l4..) else { return };
            transport_header(transport, &tuple, header, own);
            if syn {
                // MSS (RFC 9293 section 3.2) and, with a NOP, a window scale of 0 (RFC 7323), which says that windows are plain.
                let [high, low] = mss.to_be_bytes();
                if let Some(options) = transport.get_mut(HEADER..SYN_HEADER) {
                    options.copy_from_slice(&[2, 4, high, low, 1, 3, 3, 0]);
                }
            }
            if let Some(place) = transport.get_mut(own..) {
                place.copy_from_slice(data);
            }
            let mut check = !fold(pseudo(tuple.src, tuple.dst, tuple.proto, transport.len() as u32) + sum(transport));
            if spoilt == Some(Spoilt::Checksum) {
                check ^= 0x5555;
            }
            if let Some(place) = transport.get_mut(16..18) {
                place.copy_from_slice(&check.to_be_bytes());
            }
        })
    }
}

/// A piece of an end's stream.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) syn: bool,
    pub(super) fin: bool,
}

impl Cut {
    pub(super) const SYN: Cut = Cut { offset: 0, len: 0, syn: true, fin: false };
}

#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
}

/// Link and network header of a segment of `len` octets.
fn network_header(out: &mut [u8], tuple: &Tuple, (dst, src): (MacAddr, MacAddr), len: usize) {
    let Some(head) = out.get_mut(..network_end(tuple.family)) else { return };
    head.fill(0);
    head[..6].copy_from_slice(&dst.0);
    head[6..12].copy_from_slice(&src.0);
    match tuple.family {
        Family::V4 => {
            head[12..14].copy_from_slice(&[0x08, 0x00]);
            head[14] = 0x45;
            head[16..18].copy_from_slice(&((20 + len) as u16).to_be_bytes());
            head[20] = 0x40;
            head[22] = 64;
            head[23] = tuple.proto;
            head[26..30].copy_from_slice(&tuple.src.as_v4().to_be_bytes());
            head[30..34].copy_from_slice(&tuple.dst.as_v4().to_be_bytes());
            let check = !fold(sum(&head[14..34]));
            head[24..26].copy_from_slice(&check.to_be_bytes());
        }
        Family::V6 => {
            head[12..14].copy_from_slice(&[0x86, 0xdd]);
            head[14] = 0x60;
            head[18..20].copy_from_slice(&(len as u16).to_be_bytes());
            head[20] = tuple.proto;
            head[21] = 64;
            head[22..38].copy_from_slice(&tuple.src.octets_v6());
            head[38..54].copy_from_slice(&tuple.dst.octets_v6());
        }
    }
}

/// A TCP header of `own` octets without its checksum.
fn transport_header(out: &mut [u8], tuple: &Tuple, header: Header, own: usize) {
    let Some(head) = out.first_chunk_mut::<HEADER>() else { return };
    head.fill(0);
    head[..2].copy_from_slice(&tuple.src_key.to_be_bytes());
    head[2..4].copy_from_slice(&tuple.dst_key.to_be_bytes());
    head[4..8].copy_from_slice(&header.seq.to_be_bytes());
    head[8..12].copy_from_slice(&header.ack.to_be_bytes());
    head[12] = ((own / 4) as u8) << 4;
    head[13] = header.flags;
    head[14..16].copy_from_slice(&(WINDOW as u16).to_be_bytes());
}
