//! Super-frames, cut, read by etherparse as the segments a sender without offload would have sent.

use crate::net::Addr;
use crate::wire::checksum::{fold, pseudo};
use crate::wire::segments;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

/// A frame with a partial checksum: its octets, where the transport header is, and where its field is in there.
fn super_frame(v6: bool, udp: bool, payload: &[u8]) -> (Vec<u8>, u16, u16) {
    let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let mut frame = Vec::new();
    let (src, dst): (std::net::IpAddr, std::net::IpAddr) = if v6 {
        ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap())
    } else {
        ([192, 0, 2, 1].into(), [198, 51, 100, 2].into())
    };
    let network = match (src, dst) {
        (std::net::IpAddr::V4(src), std::net::IpAddr::V4(dst)) => link.ipv4(src.octets(), dst.octets(), 9),
        (std::net::IpAddr::V6(src), std::net::IpAddr::V6(dst)) => link.ipv6(src.octets(), dst.octets(), 9),
        _ => unreachable!("one family"),
    };
    if udp {
        network.udp(5, 6).write(&mut frame, payload).unwrap();
    } else {
        let tcp = network.tcp(5, 6, u32::MAX - 1000, 700).ack(3).psh().fin().cwr();
        let tcp = tcp.options(&[etherparse::TcpOptionElement::Timestamp(1, 2)]).unwrap();
        tcp.write(&mut frame, payload).unwrap();
    }
    let l4 = 14 + if v6 { 40 } else { 20 };
    let (proto, offset) = if udp { (17, 6) } else { (6, 16) };
    let sum = fold(pseudo(Addr::from(src), Addr::from(dst), proto, (frame.len() - l4) as u32));
    frame[l4 + offset..l4 + offset + 2].copy_from_slice(&sum.to_be_bytes());
    (frame, l4 as u16, offset as u16)
}

proptest! {
    #[test]
    fn segments_are_what_a_sender_without_offload_sends(
        v6: bool, udp: bool, size in 1u16..1500, length in 1usize..20_000, seed: u8,
    ) {
        let payload: Vec<u8> = (0..length).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        let (frame, l4, offset) = super_frame(v6, udp, &payload);
        let headers = (frame.len() - length) as u16;
        let mut cut = segments(&frame, l4, offset, headers, size).unwrap();
        let (mut got, mut count, mut out) = (Vec::new(), 0u16, [0xee; 2048]);
        while !cut.is_done() {
            let length = cut.write_next(&mut out).unwrap();
            let segment = SlicedPacket::from_ethernet(&out[..length]).unwrap();
            let last = cut.is_done();
            let net = segment.net.unwrap();
            if let NetSlice::Ipv4(ip) = &net {
                let header = ip.header();
                prop_assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                prop_assert_eq!(usize::from(header.total_len()) + 14, length);
                prop_assert_eq!(header.identification(), count);
            }
            let (payload, right, ours) = match (segment.transport.unwrap(), &net) {
                (TransportSlice::Tcp(tcp), NetSlice::Ipv4(ip)) => {
                    let sum = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap();
                    flags(&tcp, count, last, got.len());
                    (tcp.payload().to_vec(), sum, tcp.checksum())
                }
                (TransportSlice::Tcp(tcp), NetSlice::Ipv6(ip)) => {
                    let sum = tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap();
                    flags(&tcp, count, last, got.len());
                    (tcp.payload().to_vec(), sum, tcp.checksum())
                }
                (TransportSlice::Udp(udp), NetSlice::Ipv4(ip)) => {
                    let (header, ip) = (udp.to_header(), ip.header().to_header());
                    prop_assert_eq!(usize::from(header.length), length - usize::from(l4));
                    let sum = header.calc_checksum_ipv4(&ip, udp.payload()).unwrap();
                    (udp.payload().to_vec(), sum, header.checksum)
                }
                (TransportSlice::Udp(udp), NetSlice::Ipv6(ip)) => {
                    let (header, ip) = (udp.to_header(), ip.header().to_header());
                    let sum = header.calc_checksum_ipv6(&ip, udp.payload()).unwrap();
                    (udp.payload().to_vec(), sum, header.checksum)
                }
                other => panic!("{other:?}"),
            };
            // 0 and 0xffff are the same number, and only the second may be sent.
            prop_assert_eq!(if right == 0 { 0xffff } else { right }, ours);
            prop_assert_eq!(payload.len() == usize::from(size), !last || length_fits(got.len(), size, frame.len(), headers));
            got.extend_from_slice(&payload);
            count += 1;
        }
        prop_assert_eq!(cut.write_next(&mut out), None);
        prop_assert_eq!(got, payload);
    }

    /// Whatever is claimed of whatever octets, nothing panics and nothing is written beyond.
    #[test]
    fn noise_is_refused_or_cut(
        data in prop::collection::vec(any::<u8>(), 0..400),
        l4 in 0u16..120, offset in prop::sample::select(vec![0u16, 6, 16, 60_000]), headers in 0u16..200, size in 0u16..90,
    ) {
        if let Some(mut cut) = segments(&data, l4, offset, headers, size) {
            let mut out = [0; 300];
            for _ in 0..500 {
                if cut.write_next(&mut out).is_none() { break; }
            }
        }
    }
}

fn length_fits(before: usize, size: u16, frame: usize, headers: u16) -> bool {
    frame - usize::from(headers) - before == usize::from(size)
}

fn flags(tcp: &etherparse::TcpSlice<'_>, count: u16, last: bool, before: usize) {
    assert_eq!(tcp.sequence_number(), (u32::MAX - 1000).wrapping_add(before as u32));
    assert_eq!((tcp.cwr(), tcp.psh(), tcp.fin(), tcp.ack()), (count == 0, last, last, true));
}

#[test]
fn what_is_no_super_frame_is_refused() {
    let (frame, l4, offset) = super_frame(false, false, b"0123456789");
    let headers = (frame.len() - 10) as u16;
    assert!(segments(&frame, l4, offset, headers, 4).is_some());
    for (l4, offset, headers, size) in [
        (l4, offset, headers, 0),
        (l4, 6, headers, 4),
        (l4, offset, frame.len() as u16, 4),
        (l4, offset, frame.len() as u16 + 1, 4),
        (headers + 1, offset, headers, 4),
        (14, offset, 34, 4),
    ] {
        assert!(segments(&frame, l4, offset, headers, size).is_none(), "{l4} {offset} {headers} {size}");
    }
}
