//! The owner function as a classic BPF program, for PACKET_FANOUT_CBPF.
//!
//! The kernel then gives every packet to the socket of its owner, and hand-offs become rare. Classic BPF has
//! no tables, but none is needed. With `w` the XOR of the input's 16-bit words, bit `b` of the hash is the XOR
//! of those bits `(k - 1 - b) mod 16` of `w` whose `k` is a set bit of 0x6d5a. Read backwards, that is an XOR
//! of nine rotations of `w`; doubling `w` into 32 bits turns rotations into shifts, and taking the shifts by
//! their differences needs two instructions for each. The eight bits wanted come out reversed and are turned
//! round by two multiplications.

use super::INDIRECTION_ENTRIES;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BpfInstruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Operation codes (linux/filter.h, linux/bpf_common.h), those used here.
mod op {
    pub(super) const LD_W_ABS: u16 = 0x20;
    pub(super) const LD_H_ABS: u16 = 0x28;
    pub(super) const LD_B_ABS: u16 = 0x30;
    pub(super) const LD_W_IND: u16 = 0x40;
    pub(super) const LD_MEM: u16 = 0x60;
    pub(super) const ST: u16 = 0x02;
    pub(super) const MUL_K: u16 = 0x24;
    pub(super) const OR_X: u16 = 0x4c;
    pub(super) const AND_K: u16 = 0x54;
    pub(super) const LSH_K: u16 = 0x64;
    pub(super) const RSH_K: u16 = 0x74;
    pub(super) const MOD_K: u16 = 0x94;
    pub(super) const XOR_X: u16 = 0xac;
    pub(super) const JA: u16 = 0x05;
    pub(super) const JEQ: u16 = 0x15;
    pub(super) const JSET: u16 = 0x45;
    pub(super) const RET_K: u16 = 0x06;
    pub(super) const RET_A: u16 = 0x16;
    pub(super) const TAX: u16 = 0x07;
}

/// Loads from here on are relative to the network header (SKF_NET_OFF).
const NET: u32 = (-0x10_0000_i32) as u32;
/// The packet's protocol as the kernel knows it (SKF_AD_OFF + SKF_AD_PROTOCOL).
const PROTOCOL: u32 = (-0x1000_i32) as u32;

const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_IPV6: u32 = 0x86dd;
const TCP: u32 = crate::net::proto::TCP as u32;
const UDP: u32 = crate::net::proto::UDP as u32;

const fn stmt(code: u16, k: u32) -> BpfInstruction {
    BpfInstruction { code, jt: 0, jf: 0, k }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> BpfInstruction {
    BpfInstruction { code, jt, jf, k }
}

/// How far the doubled word is shifted, largest first: bits `k` of 0x6d5a as `(k + 8) mod 16`, which puts bits 7
/// down to 0 of the hash at bits 0 to 7.
const SHIFTS: [u32; 9] = [14, 12, 11, 9, 6, 5, 3, 2, 0];

/// XORs four-octet words starting at `first` (from the network header) into M[0].
fn addresses(program: &mut Vec<BpfInstruction>, first: u32, words: u32) {
    program.push(stmt(op::LD_W_ABS, NET.wrapping_add(first)));
    for word in 1..words {
        program.push(stmt(op::TAX, 0));
        program.push(stmt(op::LD_W_ABS, NET.wrapping_add(first + 4 * word)));
        program.push(stmt(op::XOR_X, 0));
    }
    program.push(stmt(op::ST, 0));
}

/// XORs the two ports, just loaded, into M[0].
const PORTS: [BpfInstruction; 4] = [stmt(op::TAX, 0), stmt(op::LD_MEM, 0), stmt(op::XOR_X, 0), stmt(op::ST, 0)];

/// A program that returns the owner's number out of `shards` (0 counts as 1) for a packet as PACKET_FANOUT_CBPF shows it.
///
/// Equals [`super::owner`] for IPv4 and for IPv6 without extension headers, and
/// [`super::owner_of_addresses`] for fragments and behind extension headers; 0 for anything else. The sockets
/// must have joined the fan-out group in the order of the shards. A packet it steers elsewhere than its owner
/// costs a hand-off and nothing more.
#[must_use]
pub fn fanout_program(shards: usize) -> Vec<BpfInstruction> {
    let mut v4 = Vec::new();
    addresses(&mut v4, 12, 2);
    // Ports only in TCP and UDP that is no fragment: neither more-fragments nor an offset.
    v4.extend([
        stmt(op::LD_B_ABS, NET.wrapping_add(9)),
        jump(op::JEQ, TCP, 1, 0),
        jump(op::JEQ, UDP, 0, 11),
        stmt(op::LD_H_ABS, NET.wrapping_add(6)),
        jump(op::JSET, 0x3fff, 9, 0),
        // The transport header stands behind IHL times four octets.
        stmt(op::LD_B_ABS, NET),
        stmt(op::AND_K, 0xf),
        stmt(op::LSH_K, 2),
        stmt(op::TAX, 0),
        stmt(op::LD_W_IND, NET),
    ]);
    v4.extend(PORTS);

    let mut v6 = Vec::new();
    addresses(&mut v6, 8, 8);
    v6.extend([
        stmt(op::LD_B_ABS, NET.wrapping_add(6)),
        jump(op::JEQ, TCP, 1, 0),
        jump(op::JEQ, UDP, 0, 5),
        stmt(op::LD_W_ABS, NET.wrapping_add(40)),
    ]);
    v6.extend(PORTS);
    v4.push(stmt(op::JA, v6.len() as u32));

    let mut program = vec![
        stmt(op::LD_W_ABS, PROTOCOL),
        jump(op::JEQ, ETHERTYPE_IPV4, 2, 0),
        jump(op::JEQ, ETHERTYPE_IPV6, v4.len() as u8 + 1, 0),
        stmt(op::RET_K, 0),
    ];
    program.append(&mut v4);
    program.append(&mut v6);
    hash(&mut program);
    program.extend([
        stmt(op::AND_K, INDIRECTION_ENTRIES as u32 - 1),
        stmt(op::MOD_K, shards.max(1) as u32),
        stmt(op::RET_A, 0),
    ]);
    program
}

/// From M[0], the XOR of 32-bit words, to the low eight bits of the hash in A.
fn hash(program: &mut Vec<BpfInstruction>) {
    // w, and w doubled, in X.
    program.extend([
        stmt(op::LD_MEM, 0),
        stmt(op::TAX, 0),
        stmt(op::RSH_K, 16),
        stmt(op::XOR_X, 0),
        stmt(op::AND_K, 0xffff),
        stmt(op::TAX, 0),
        stmt(op::LSH_K, 16),
        stmt(op::OR_X, 0),
        stmt(op::TAX, 0),
    ]);
    // ((w >> a-b) ^ w) >> b-c ... leaves the XOR of w >> a, w >> b, w >> c ...
    for pair in SHIFTS.windows(2) {
        if let [more, less] = pair {
            program.push(stmt(op::RSH_K, more - less));
            program.push(stmt(op::XOR_X, 0));
        }
    }
    // The octet's bits turned round: each multiplication spreads copies, each mask picks four bits.
    program.extend([
        stmt(op::AND_K, 0xff),
        stmt(op::ST, 1),
        stmt(op::MUL_K, 0x0802),
        stmt(op::AND_K, 0x22110),
        stmt(op::TAX, 0),
        stmt(op::LD_MEM, 1),
        stmt(op::MUL_K, 0x8020),
        stmt(op::AND_K, 0x88440),
        stmt(op::OR_X, 0),
        stmt(op::MUL_K, 0x10101),
        stmt(op::RSH_K, 16),
        stmt(op::AND_K, 0xff),
    ]);
}

#[cfg(test)]
mod tests;
