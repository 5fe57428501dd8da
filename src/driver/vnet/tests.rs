use super::*;
use crate::frame::{Pool, PoolConfig};
use proptest::prelude::*;

#[test]
fn flags_say_how_much_is_known_of_the_checksum() {
    let meta = |flags| VnetHeader { flags, csum_start: 34, csum_offset: 16, ..VnetHeader::default() }.meta(&[]);
    assert_eq!(meta(0), Some((Checksum::Unknown, None)));
    assert_eq!(meta(2), Some((Checksum::Verified, None)));
    assert_eq!(meta(1), Some((Checksum::Partial { start: 34, offset: 16 }, None)));
}

#[test]
fn the_header_length_of_a_super_frame_is_read_from_its_transport_header() {
    let mut frame = [0u8; 80];
    frame[34 + 12] = 8 << 4;
    let header =
        VnetHeader { flags: 1, gso_type: 1 | 0x80, hdr_len: 999, gso_size: 1448, csum_start: 34, csum_offset: 16 };
    let (_, gso) = header.meta(&frame).unwrap();
    assert_eq!(gso, Some(Gso { kind: GsoKind::Tcp4, ecn: true, size: 1448, header_len: 66 }));
    let udp = VnetHeader { gso_type: 5, csum_offset: 6, ..header };
    assert_eq!(udp.meta(&frame).unwrap().1.unwrap().header_len, 42);
    assert_eq!(header.meta(&frame[..40]).unwrap().1.unwrap().header_len, 999, "too short to look");
}

#[test]
fn an_unknown_kind_of_super_frame_is_refused() {
    for gso_type in [2, 3, 6, 0x7f] {
        assert_eq!(VnetHeader { gso_type, ..VnetHeader::default() }.meta(&[0; 60]), None, "{gso_type}");
    }
}

#[test]
fn a_tag_goes_behind_the_addresses_and_moves_the_checksum() {
    let pool = Pool::new(PoolConfig { buffers: 1, frame_size: 64 }).unwrap();
    let bytes: Vec<u8> = (0..20).collect();
    let mut frame = pool.alloc_from(&bytes).unwrap();
    frame.meta.checksum = Checksum::Partial { start: 14, offset: 2 };
    assert!(insert_tag(&mut frame, 0x88a8, 0x2064));
    assert_eq!(frame.data()[..12], bytes[..12]);
    assert_eq!(frame.data()[12..16], [0x88, 0xa8, 0x20, 0x64]);
    assert_eq!(frame.data()[16..], bytes[12..]);
    assert_eq!(frame.meta.checksum, Checksum::Partial { start: 18, offset: 2 });
    frame.set_len(13);
    assert!(!insert_tag(&mut frame, 0x8100, 1), "no Ethernet header");
}

fn any_meta() -> impl Strategy<Value = Meta> {
    let checksum = prop_oneof![
        Just(Checksum::Unknown),
        (0u16..200, 0u16..40).prop_map(|(start, offset)| Checksum::Partial { start, offset }),
    ];
    let kind = prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::UdpL4)];
    let gso = prop::option::of(
        (kind, any::<bool>(), any::<u16>(), any::<u16>()).prop_map(|(kind, ecn, size, header_len)| Gso {
            kind,
            ecn,
            size,
            header_len,
        }),
    );
    (checksum, gso).prop_map(|(checksum, gso)| Meta { checksum, gso, ..Meta::default() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What is sent is what the other side understands; an empty frame, so no header is looked into.
    #[test]
    fn meta_survives_the_header(meta in any_meta()) {
        let header = VnetHeader::from_octets(VnetHeader::from_meta(&meta).octets());
        let (checksum, gso) = header.meta(&[]).unwrap();
        prop_assert_eq!(checksum, meta.checksum);
        let udp_start = match (meta.gso, meta.checksum) {
            (Some(Gso { kind: GsoKind::UdpL4, .. }), Checksum::Partial { start, .. }) => Some(start + 8),
            _ => None,
        };
        let expected = meta.gso.map(|gso| Gso { header_len: udp_start.unwrap_or(gso.header_len), ..gso });
        prop_assert_eq!(gso, expected);
    }
}
