use super::*;

#[test]
fn a_chunk_holds_what_is_received() {
    assert_eq!(Umem::sizes(1500, 8), Some(PoolConfig { buffers: 8, frame_size: 2048 - 192 }));
    assert_eq!(Umem::sizes(1770, 8).map(area::chunk_of), Some(2048));
    assert_eq!(Umem::sizes(1771, 8).map(area::chunk_of), Some(4096));
    assert_eq!(Umem::sizes(3818, 8).map(area::chunk_of), Some(4096));
    assert_eq!(Umem::sizes(3819, 8), None);
}
