//! The SCTP common header and chunk list (RFC 9260 section 3).

use super::parse::{Transport, Verify};
use crate::net::{InvalidReason, L4, Sctp};

const HEADER_LEN: usize = 12;

/// Most chunks a summary lists.
const MAX_LISTED: u8 = 16;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Octets of an INIT or INIT ACK chunk without its optional parameters (RFC 9260 section 3.3.2).
const INIT_LEN: usize = 20;

/// CRC32c over the packet with the checksum field as zero, compared with the field, which is in little-endian order
/// (RFC 9260 appendix A).
fn crc_matches(l4: &[u8]) -> bool {
    let Some((header, chunks)) = l4.split_first_chunk::<HEADER_LEN>() else { return false };
    let [ports_and_tag @ .., a, b, c, d] = *header;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&ports_and_tag), &[0; 4]);
    crc32c::crc32c_append(crc, chunks) == u32::from_le_bytes([a, b, c, d])
}

/// Lists the chunks; `false` if they may not stand together, or one is malformed.
fn read_chunks(l4: &[u8], seen: &mut Sctp) -> bool {
    let mut rest = l4.get(HEADER_LEN..).unwrap_or_default();
    let mut count = 0u32;
    let mut alone = false;
    while let Some(h) = rest.first_chunk::<4>() {
        let (kind, flags, length) = (h[0], h[1], usize::from(u16::from_be_bytes([h[2], h[3]])));
        alone |= matches!(kind, INIT | INIT_ACK | SHUTDOWN_COMPLETE);
        let must_be_first = alone || matches!(kind, COOKIE_ECHO | COOKIE_ACK);
        if length == 0 || (must_be_first && count != 0) {
            return false;
        }
        if matches!(kind, INIT | INIT_ACK) {
            let Some(chunk) = rest.first_chunk::<INIT_LEN>() else { return false };
            seen.init_tag = u32::from_be_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        }
        if seen.count < MAX_LISTED {
            if matches!(kind, ABORT | SHUTDOWN_COMPLETE) {
                seen.t_flags |= u16::from(flags & 1) << seen.count;
            }
            seen.kinds |= u64::from(kind.min(15)) << (4 * seen.count);
            seen.count += 1;
        }
        count += 1;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    count != 0
}

/// Reads a packet: ports, whole common header, CRC, chunks.
pub(super) fn read(l4: &[u8], verify: Verify) -> Transport {
    let mut fields = Sctp::default();
    let mut seen = match Transport::with_ports(l4, L4::Sctp(fields)) {
        Ok(seen) => seen,
        Err(invalid) => return invalid,
    };
    let Some(h) = l4.first_chunk::<HEADER_LEN>() else { return seen.defective(InvalidReason::Truncated) };
    fields.vtag = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
    let sane = read_chunks(l4, &mut fields);
    seen.l4 = L4::Sctp(fields);
    seen.header = HEADER_LEN;
    if verify == Verify::Check && !crc_matches(l4) {
        return seen.defective(InvalidReason::SctpChecksum);
    }
    if !sane {
        return seen.defective(InvalidReason::SctpChunk);
    }
    seen
}
