use super::super::owner::tests::any_tuple;
use super::super::{owner, owner_of_addresses};
use super::*;
use crate::net::{Family, Tuple};
use proptest::prelude::*;

/// Runs a program as the kernel does: a load outside the packet returns 0.
fn run(program: &[BpfInstruction], ethertype: u16, packet: &[u8]) -> u32 {
    let (mut a, mut x, mut m) = (0u32, 0u32, [0u32; 16]);
    let load = |at: u32, size: usize| -> Option<u32> {
        if at == PROTOCOL {
            return Some(u32::from(ethertype));
        }
        let from = usize::try_from(i64::from(at as i32) - i64::from(NET as i32)).ok()?;
        Some(packet.get(from..from + size)?.iter().fold(0, |v, b| v << 8 | u32::from(*b)))
    };
    let mut pc = 0;
    loop {
        let i = program[pc];
        pc += 1;
        match i.code {
            op::LD_W_ABS | op::LD_H_ABS | op::LD_B_ABS | op::LD_W_IND => {
                let size = match i.code {
                    op::LD_H_ABS => 2,
                    op::LD_B_ABS => 1,
                    _ => 4,
                };
                let base = if i.code == op::LD_W_IND { x } else { 0 };
                match load(i.k.wrapping_add(base), size) {
                    Some(value) => a = value,
                    None => return 0,
                }
            }
            op::LD_MEM => a = m[i.k as usize],
            op::ST => m[i.k as usize] = a,
            op::MUL_K => a = a.wrapping_mul(i.k),
            op::OR_X => a |= x,
            op::AND_K => a &= i.k,
            op::LSH_K => a <<= i.k,
            op::RSH_K => a >>= i.k,
            op::MOD_K => a %= i.k,
            op::XOR_X => a ^= x,
            op::JA => pc += i.k as usize,
            op::JEQ => pc += usize::from(if a == i.k { i.jt } else { i.jf }),
            op::JSET => pc += usize::from(if a & i.k != 0 { i.jt } else { i.jf }),
            op::RET_K => return i.k,
            op::RET_A => return a,
            op::TAX => x = a,
            other => panic!("no such operation: {other:#x}"),
        }
    }
}

fn packet(tuple: &Tuple, options: usize, fragment: u16) -> (u16, Vec<u8>) {
    let mut octets;
    let ethertype = match tuple.family {
        Family::V4 => {
            octets = vec![0; 20 + 4 * options];
            octets[0] = 0x45 + options as u8;
            octets[6..8].copy_from_slice(&fragment.to_be_bytes());
            octets[9] = tuple.proto;
            octets[12..16].copy_from_slice(&tuple.src.as_v4().to_be_bytes());
            octets[16..20].copy_from_slice(&tuple.dst.as_v4().to_be_bytes());
            0x0800
        }
        Family::V6 => {
            octets = vec![0; 40];
            octets[0] = 0x60;
            octets[6] = tuple.proto;
            octets[8..24].copy_from_slice(&tuple.src.octets_v6());
            octets[24..40].copy_from_slice(&tuple.dst.octets_v6());
            0x86dd
        }
    };
    octets.extend(tuple.src_key.to_be_bytes());
    octets.extend(tuple.dst_key.to_be_bytes());
    (ethertype, octets)
}

proptest! {
    #[test]
    fn computes_the_owner(tuple in any_tuple(), shards in 1usize..=64, options in 0usize..=10, df in any::<bool>()) {
        let (ethertype, packet) = packet(&tuple, options, if df { 0x4000 } else { 0 });
        let got = run(&fanout_program(shards), ethertype, &packet);
        prop_assert_eq!(got as usize, owner(&tuple, shards).index());
    }

    #[test]
    fn fragments_go_by_their_addresses(tuple in any_tuple(), shards in 1usize..=64, field in 1u16..=0x3fff) {
        if tuple.family == Family::V4 {
            let (ethertype, packet) = packet(&tuple, 0, field);
            let got = run(&fanout_program(shards), ethertype, &packet);
            prop_assert_eq!(got as usize, owner_of_addresses(tuple.src, tuple.dst, shards).index());
        }
    }

    #[test]
    fn extension_headers_leave_the_addresses(tuple in any_tuple(), shards in 1usize..=64, header in prop::sample::select(vec![0u8, 43, 44, 51, 60])) {
        let tuple = Tuple { proto: header, ..tuple };
        if tuple.family == Family::V6 {
            let (ethertype, packet) = packet(&tuple, 0, 0);
            let got = run(&fanout_program(shards), ethertype, &packet);
            prop_assert_eq!(got as usize, owner_of_addresses(tuple.src, tuple.dst, shards).index());
        }
    }

    #[test]
    fn any_octets_name_a_shard(octets in prop::collection::vec(any::<u8>(), 0..80), ethertype in any::<u16>(), shards in 1usize..=64) {
        for ethertype in [ethertype, 0x0800, 0x86dd] {
            prop_assert!((run(&fanout_program(shards), ethertype, &octets) as usize) < shards);
        }
    }
}

#[test]
fn anything_else_goes_to_shard_zero() {
    for ethertype in [0x0806, 0x8100, 0x88a8, 0] {
        assert_eq!(run(&fanout_program(7), ethertype, &[0xff; 64]), 0);
    }
}

/// What the kernel checks before it takes a program (bpf_check_classic).
#[test]
fn the_kernel_would_load_it() {
    for shards in 0..=64 {
        let program = fanout_program(shards);
        assert!(program.len() <= 4096);
        for (pc, i) in program.iter().enumerate() {
            let furthest = match i.code {
                op::JA => pc + 1 + i.k as usize,
                op::JEQ | op::JSET => pc + 1 + usize::from(i.jt.max(i.jf)),
                _ => pc,
            };
            assert!(furthest < program.len(), "jump at {pc} leaves the program");
        }
        assert!(matches!(program.last(), Some(i) if i.code == op::RET_A));
    }
}
