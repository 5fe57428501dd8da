//! Frames from few octets, with checksums that do not matter: the routers here do not verify them.

use crate::Input;
use std::net::IpAddr;

/// An Ethernet frame for port `side` around an IP packet of the family of `src`.
pub fn ip(side: usize, src: IpAddr, dst: IpAddr, proto: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, side as u8 + 1, 2, 0, 0, 0, 1, side as u8 + 1];
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((20 + payload.len() as u16).to_be_bytes());
            frame.extend([0, 1, 0, 0, ttl, proto, 0, 0]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
            seal(&mut frame[14..34]);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((payload.len() as u16).to_be_bytes());
            frame.extend([proto, ttl]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
        }
        _ => unreachable!("both hosts are of one family"),
    }
    frame.extend(payload);
    frame
}

/// Writes an IPv4 header's checksum (RFC 1071).
pub fn seal(header: &mut [u8]) {
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
}

/// A TCP segment with `options` padded to whole words.
pub fn tcp(ports: [u16; 2], flags: u8, seq: u32, ack: u32, window: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = options.len().min(40).div_ceil(4);
    let mut out = Vec::with_capacity(20 + words * 4 + payload.len());
    out.extend(ports.map(u16::to_be_bytes).concat());
    out.extend(seq.to_be_bytes());
    out.extend(ack.to_be_bytes());
    out.extend([(5 + words as u8) << 4, flags]);
    out.extend(window.to_be_bytes());
    out.extend([0; 4]);
    out.extend(&options[..options.len().min(40)]);
    out.resize(20 + words * 4, 1);
    out.extend(payload);
    out
}

/// A UDP datagram without a checksum.
pub fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut out = ports.map(u16::to_be_bytes).concat();
    out.extend((8 + payload.len() as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    out
}

/// The frame cut in two, with the second octet of `input` deciding where; the frame alone if it is too short.
pub fn fragments(frame: &[u8], input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let v6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
    let header = if v6 { 40 } else { 20 };
    let id = input.u8() & 3;
    let Some(payload) = frame.get(14 + header..).filter(|payload| payload.len() > 8) else {
        return vec![frame.to_vec()];
    };
    let cut = (8 * (1 + usize::from(input.u8()) % (payload.len() / 8))).min(payload.len());
    let piece = |offset: usize, data: &[u8], more: bool| {
        let mut piece = frame[..14 + header].to_vec();
        if v6 {
            piece[18..20].copy_from_slice(&(8 + data.len() as u16).to_be_bytes());
            let word = offset as u16 | u16::from(more);
            let next = std::mem::replace(&mut piece[20], 44);
            piece.extend([next, 0]);
            piece.extend(word.to_be_bytes());
            piece.extend([0, 0, 0, id]);
        } else {
            piece[16..18].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
            piece[18..20].copy_from_slice(&[0, id]);
            piece[20..22].copy_from_slice(&(offset as u16 / 8 | u16::from(more) << 13).to_be_bytes());
            seal(&mut piece[14..34]);
        }
        piece.extend(data);
        piece
    };
    vec![piece(0, &payload[..cut], true), piece(cut, &payload[cut..], false)]
}
