//! Addresses in the text of a control connection.

use std::net::Ipv6Addr;

/// Most characters of an IPv6 address without needless zeros (RFC 4291 section 2.2).
const LONGEST: usize = 45;

/// Reads an IPv6 address as netfilter does: in any form of RFC 4291 section 2.2, and with any number of zeros before
/// a group.
pub(super) fn v6(text: &[u8]) -> Option<Ipv6Addr> {
    let mut plain = [0; LONGEST];
    let mut len = 0;
    for (n, group) in text.split(|octet| *octet == b':').enumerate() {
        let zeros = group.iter().take_while(|octet| **octet == b'0').count();
        // Those of a dotted end are numbers of another kind.
        let needless = if group.contains(&b'.') { 0 } else { zeros.min(group.len().saturating_sub(4)) };
        let colon: &[u8] = if n > 0 { b":" } else { b"" };
        for octet in colon.iter().chain(group.get(needless..)?) {
            *plain.get_mut(len)? = *octet;
            len += 1;
        }
    }
    std::str::from_utf8(plain.get(..len)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::v6;

    #[test]
    fn groups_may_have_more_zeros_than_digits_fit() {
        let same = |text: &str, plain: &str| assert_eq!(v6(text.as_bytes()), Some(plain.parse().unwrap()), "{text}");
        same("fd01::29", "fd01::29");
        same("0fd01:0:0:1::029", "fd01:0:0:1::29");
        same("00000000000000000000000000000000000000000000000000::0001", "::1");
        same("::ffff:10.1.0.2", "::ffff:10.1.0.2");
        for text in ["1fd01::", "fd01:0:0:1:::29", "", "00000", "::ffff:010.1.0.2", "g::", "fd01::29 "] {
            assert_eq!(v6(text.as_bytes()), None, "{text}");
        }
    }
}
