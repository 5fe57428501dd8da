//! Frames made ahead and patched in place.
//!
//! A template holds the first [`HEAD`] octets of a frame of one size, and the sums its checksums begin with. Behind
//! them every frame has the same filler, which stands in the buffers from the start, so that a packet costs the copy
//! of its head, whatever its size.

use super::plan::{FCS, Kind, Stream, TCP_HEADER, UDP_HEADER, network_end};
use super::signature::{COMPACT, FULL, Secret, Signature};
use crate::frame::Frame;
use crate::net::{Family, MacAddr, TcpFlags, Tuple, proto};
use crate::wire::checksum::{fold, pseudo, sum};

/// Octets of a frame that a template holds: all headers and the longest mark.
pub const HEAD: usize = 128;

/// What stands in a frame's payload at each offset from its first octet.
#[must_use]
pub fn filler(len: usize) -> Box<[u8]> {
    // The period is a prime, so that shifted content differs.
    (0..len).map(|at| ((at % 251) as u8).wrapping_mul(7) ^ (at / 251) as u8).collect()
}

/// Where a sent frame's mark begins, in octets from the start of the frame.
#[must_use]
pub const fn payload_start(family: Family, proto: u8) -> usize {
    network_end(family) + if proto == proto::TCP { TCP_HEADER } else { UDP_HEADER }
}

/// The smallest size, frame check sequence included, that has room for a mark.
#[must_use]
pub const fn least_size(family: Family, proto: u8) -> usize {
    let least = payload_start(family, proto) + COMPACT + FCS;
    if least < 64 { 64 } else { least }
}

/// The smallest size, frame check sequence included, that has room for the full mark.
#[must_use]
pub const fn full_size(family: Family, proto: u8) -> usize {
    payload_start(family, proto) + FULL + FCS
}

/// The frame of one stream in one size.
#[derive(Clone, Debug)]
pub struct Template {
    head: [u8; HEAD],
    /// Octets of the frame.
    len: usize,
    family: Family,
    proto: u8,
    /// Sum of the IPv4 header without addresses.
    network: u32,
    /// Sum of transport header, filler and pseudo-header without addresses, ports and mark.
    transport: u32,
}

/// Hop count of what is sent.
const HOPS: u8 = 64;

impl Template {
    /// The frame of `size` octets, frame check sequence included, between these link addresses. For TCP it is a bare
    /// ACK segment, which [`Template::write`] completes. `None` if the size has no room for headers and mark.
    #[must_use]
    pub fn new(
        family: Family,
        proto: u8,
        size: usize,
        (dst, src): (MacAddr, MacAddr),
        filler: &[u8],
    ) -> Option<Template> {
        let (l4, payload) = (network_end(family), payload_start(family, proto));
        let len = size.checked_sub(FCS)?;
        let mark = match len.checked_sub(payload)? {
            room if room >= FULL => FULL,
            room if room >= COMPACT => COMPACT,
            _ => return None,
        };
        let mut frame = filler.get(..len.max(HEAD))?.to_vec();
        frame.get_mut(..payload + mark)?.fill(0);
        frame[..6].copy_from_slice(&dst.0);
        frame[6..12].copy_from_slice(&src.0);
        match family {
            Family::V4 => {
                frame[12..14].copy_from_slice(&[0x08, 0x00]);
                frame[14] = 0x45;
                frame[16..18].copy_from_slice(&u16::try_from(len - 14).ok()?.to_be_bytes());
                // DF, so that no identification is needed (RFC 6864 section 4.1).
                frame[20] = 0x40;
                frame[22] = HOPS;
                frame[23] = proto;
            }
            Family::V6 => {
                frame[12..14].copy_from_slice(&[0x86, 0xdd]);
                frame[14] = 0x60;
                frame[18..20].copy_from_slice(&u16::try_from(len - l4).ok()?.to_be_bytes());
                frame[20] = proto;
                frame[21] = HOPS;
            }
        }
        let l4_len = len - l4;
        if proto == proto::TCP {
            frame[l4 + 12] = 5 << 4;
            frame[l4 + 13] = TcpFlags::ACK;
            frame[l4 + 14..l4 + 16].copy_from_slice(&u16::MAX.to_be_bytes());
        } else {
            frame[l4 + 4..l4 + 6].copy_from_slice(&u16::try_from(l4_len).ok()?.to_be_bytes());
        }
        let network = if family == Family::V4 { sum(&frame[14..34]) } else { 0 };
        let none = crate::net::Addr::UNSPECIFIED;
        let transport = pseudo(none, none, proto, l4_len as u32) + sum(&frame[l4..len]);
        let head = *frame.first_chunk::<HEAD>()?;
        Some(Template { head, len, family, proto, network, transport: u32::from(fold(transport)) })
    }

    /// Every size of a stream, once each, with the cycle of indices in which they are sent.
    #[must_use]
    pub fn of_stream(stream: &Stream, link: (MacAddr, MacAddr), filler: &[u8]) -> Option<(Vec<Template>, Vec<u16>)> {
        let mut sizes = stream.sizes.clone();
        sizes.sort_unstable();
        sizes.dedup();
        let proto = match stream.kind {
            Kind::Udp { .. } => proto::UDP,
            Kind::Tcp(_) => proto::TCP,
        };
        let one = |size: &u16| Template::new(stream.family, proto, usize::from(*size), link, filler);
        let templates = sizes.iter().map(one).collect::<Option<Vec<_>>>()?;
        let index = |size: &u16| sizes.binary_search(size).ok().and_then(|at| u16::try_from(at).ok());
        Some((templates, stream.sizes.iter().map(index).collect::<Option<Vec<_>>>()?))
    }

    /// Octets of the frame, without frame check sequence.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never: there are headers.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Makes an empty frame of a buffer with filler into this template's packet of a flow. False if it does not fit.
    #[inline]
    pub fn write(&self, frame: &mut Frame, tuple: &Tuple, mark: &Signature, secret: Secret) -> bool {
        frame.set_len(self.len.max(HEAD));
        let Some(head) = frame.data_mut().first_chunk_mut::<HEAD>() else { return false };
        *head = self.head;
        match self.family {
            Family::V4 => {
                let (src, dst) = (tuple.src.as_v4(), tuple.dst.as_v4());
                head[26..30].copy_from_slice(&src.to_be_bytes());
                head[30..34].copy_from_slice(&dst.to_be_bytes());
                let check = !fold(self.network + halves(src) + halves(dst));
                head[24..26].copy_from_slice(&check.to_be_bytes());
            }
            Family::V6 => {
                head[22..38].copy_from_slice(&tuple.src.octets_v6());
                head[38..54].copy_from_slice(&tuple.dst.octets_v6());
            }
        }
        let l4 = network_end(self.family);
        head[l4..l4 + 2].copy_from_slice(&tuple.src_key.to_be_bytes());
        head[l4 + 2..l4 + 4].copy_from_slice(&tuple.dst_key.to_be_bytes());
        let payload = payload_start(self.family, self.proto);
        let marked = if self.len - payload >= FULL {
            let bytes = mark.full(secret);
            head[payload..payload + FULL].copy_from_slice(&bytes);
            sum(&bytes)
        } else {
            let bytes = mark.compact(secret);
            head[payload..payload + COMPACT].copy_from_slice(&bytes);
            sum(&bytes)
        };
        let addresses = pseudo(tuple.src, tuple.dst, 0, 0);
        let ports = u32::from(tuple.src_key) + u32::from(tuple.dst_key);
        let at = self.checksum_at();
        store(head, at, fold(self.transport + addresses + ports + marked));
        frame.set_len(self.len);
        frame.len() == self.len
    }

    /// Where the transport checksum stands.
    #[inline]
    #[must_use]
    pub const fn checksum_at(&self) -> usize {
        network_end(self.family) + if self.proto == proto::TCP { 16 } else { 6 }
    }
}

#[inline]
const fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// Stores the complement of a sum; UDP has no checksum of 0 (RFC 768), and to TCP both zeros mean the same.
#[inline]
fn store(head: &mut [u8], at: usize, sum: u16) {
    let check = match !sum {
        0 => u16::MAX,
        check => check,
    };
    if let Some(place) = head.get_mut(at..at + 2) {
        place.copy_from_slice(&check.to_be_bytes());
    }
}

/// Replaces the full mark at `payload` of a frame whose transport checksum at `at` is right, and keeps it right.
/// False if there is no such mark.
#[inline]
pub fn replace_mark(data: &mut [u8], (at, payload): (usize, usize), mark: &Signature, secret: Secret) -> bool {
    let Some(place) = data.get_mut(payload..).and_then(|d| d.first_chunk_mut::<FULL>()) else { return false };
    let (old, new) = (*place, mark.full(secret));
    *place = new;
    let Some(check) = data.get_mut(at..).and_then(|d| d.first_chunk_mut::<2>()) else { return false };
    // RFC 1624 over the whole mark, which begins at an even offset.
    let was = u32::from(!u16::from_be_bytes(*check));
    let without = u32::from(!fold(sum(&old)));
    let value = fold(was + without + sum(&new));
    store(data, at, value);
    true
}

#[cfg(test)]
mod tests {
    use super::super::plan::Space;
    use super::super::signature::Purpose;
    use super::*;
    use crate::frame::{Pool, PoolConfig};
    use crate::net::{Addr, L4};
    use crate::wire::{Kind as Net, Verify, parse};
    use std::net::IpAddr;

    const SECRET: Secret = Secret::new(3);

    fn space(family: Family, proto: u8) -> Space {
        let address = |v4: &str, v6: &str| -> Addr {
            let text = if family == Family::V4 { v4 } else { v6 };
            text.parse::<IpAddr>().unwrap().into()
        };
        Space {
            family,
            proto,
            src: (address("10.1.255.250", "2001:db8:1::fff0"), 20),
            dst: (address("10.2.0.1", "2001:db8:2::1"), 3),
            sport: (1024, 1000),
            dport: (9, 2),
        }
    }

    fn pool(fill: &[u8]) -> Pool {
        let pool = Pool::new(PoolConfig { buffers: 4, frame_size: 9018 }).unwrap();
        let mut all: Vec<Frame> = std::iter::from_fn(|| pool.alloc()).collect();
        for frame in &mut all {
            frame.set_len(9018);
            frame.data_mut().copy_from_slice(&fill[..9018]);
        }
        drop(all);
        pool
    }

    #[test]
    fn every_frame_is_right_in_every_octet() {
        let fill = filler(9018);
        let pool = pool(&fill);
        let link = (MacAddr([2; 6]), MacAddr([4; 6]));
        for (family, proto) in
            [(Family::V4, proto::UDP), (Family::V6, proto::UDP), (Family::V4, proto::TCP), (Family::V6, proto::TCP)]
        {
            let space = space(family, proto);
            let least = least_size(family, proto);
            for size in [least, least + 1, least + 9, 128, 131, 594, 1518, 9022] {
                let template = Template::new(family, proto, size, link, &fill).unwrap();
                for flow in [0, 1, 999, 1000, 19_999, 20_000, 59_999, 119_999] {
                    let mark = Signature {
                        purpose: Purpose::Data,
                        stream: 4,
                        flow: Some(flow as u32),
                        seq: 0xfedc_ba98,
                        time: Some(123_456_789),
                    };
                    let tuple = space.tuple(flow);
                    let mut frame = pool.alloc().unwrap();
                    assert!(template.write(&mut frame, &tuple, &mark, SECRET));
                    let data = frame.data();
                    assert_eq!(data.len(), size - FCS);
                    let parsed = parse(data, Verify::Check).unwrap();
                    assert_eq!(parsed.kind, if family == Family::V4 { Net::Ipv4 } else { Net::Ipv6 });
                    assert_eq!((parsed.summary.defect, parsed.summary.tuple), (None, tuple), "{size} {flow}");
                    assert_eq!(matches!(parsed.summary.l4, L4::Tcp(_)), proto == proto::TCP);
                    let payload = payload_start(family, proto);
                    assert_eq!((parsed.payload as usize, parsed.end as usize), (payload, data.len()));
                    let got = Signature::read(&data[payload..], SECRET).unwrap();
                    let full = data.len() - payload >= FULL;
                    let wanted = if full { mark } else { Signature { flow: None, time: None, ..mark } };
                    assert_eq!(got, wanted);
                    let behind = payload + if full { FULL } else { COMPACT };
                    assert_eq!(data[behind..], fill[behind..data.len()], "filler of {size}");
                    assert_eq!(space.flow(&parsed.summary.tuple), Some(flow));
                }
            }
        }
    }

    #[test]
    fn a_frame_of_64_octets_has_the_full_mark_over_ipv4() {
        assert_eq!(payload_start(Family::V4, proto::UDP) + FULL + FCS, 64);
        assert_eq!(least_size(Family::V6, proto::UDP), 74);
        let link = (MacAddr([2; 6]), MacAddr([4; 6]));
        assert!(Template::new(Family::V6, proto::UDP, 73, link, &filler(200)).is_none());
    }

    #[test]
    fn a_mark_can_be_replaced() {
        let fill = filler(9018);
        let pool = pool(&fill);
        for family in Family::ALL {
            let template = Template::new(family, proto::UDP, 200, (MacAddr([2; 6]), MacAddr([4; 6])), &fill).unwrap();
            let mut mark = Signature { purpose: Purpose::Data, stream: 0, flow: Some(0), seq: 0, time: Some(0) };
            let mut frame = pool.alloc().unwrap();
            template.write(&mut frame, &space(family, proto::UDP).tuple(5), &mark, SECRET);
            for n in 0..5000u32 {
                mark = Signature { seq: n.wrapping_mul(0x9e37_79b9), time: Some(u64::from(n) << 20), ..mark };
                let places = (template.checksum_at(), payload_start(family, proto::UDP));
                assert!(replace_mark(frame.data_mut(), places, &mark, SECRET));
                let parsed = parse(frame.data(), Verify::Check).unwrap();
                assert_eq!(parsed.summary.defect, None, "{n}");
                assert_eq!(Signature::read(parsed.payload(frame.data()), SECRET), Some(mark));
            }
        }
    }

    #[test]
    fn tuples_outside_are_nobodys_flow() {
        let space = space(Family::V4, proto::UDP);
        let inside = space.tuple(3);
        for tuple in [
            Tuple { src_key: 1023, ..inside },
            Tuple { src_key: 2024, ..inside },
            Tuple { dst_key: 11, ..inside },
            Tuple { src: Addr::v4(0), ..inside },
            Tuple { dst: Addr::v4(u32::MAX), ..inside },
            Tuple { proto: proto::TCP, ..inside },
        ] {
            assert_eq!(space.flow(&tuple), None, "{tuple:?}");
        }
        assert_eq!(space.size(), 1000 * 20 * 3 * 2);
    }
}
