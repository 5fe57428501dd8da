//! Single values as the file writes them: durations, addresses, port ranges, protocol names.
//!
//! Pure functions from a text to a value or to what is wrong with it.

use crate::net::proto;
use ipnet::IpNet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// What is wrong with a value, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Wrong {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Wrong { message: message.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Wrong { help: Some(help.into()), ..self }
    }
}

type Parsed<T> = Result<T, Wrong>;

/// Longest duration: two points further apart cannot be told in order on the millisecond clock.
pub(crate) const MAX_DURATION: u32 = 24 * 86_400_000;

/// Units of durations in milliseconds, longest first.
const UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A duration in milliseconds: a number and a unit; a bare number means seconds.
pub(crate) fn duration(text: &str, least: u32) -> Parsed<u32> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "s" } else { unit };
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let (Some(factor), true) = (factor, digits > 0) else {
        return Err(Wrong::new(format!("`{text}` is not a duration"))
            .help("write a whole number and a unit: ms, s, m, h or d, as in 30s"));
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)) {
        Some(ms) if ms >= u64::from(least) && ms <= u64::from(MAX_DURATION) => Ok(ms as u32),
        _ => Err(Wrong::new(format!("`{text}` is out of range")).help(format!(
            "from {} to {}",
            print_duration(least),
            print_duration(MAX_DURATION)
        ))),
    }
}

/// A duration in the longest unit that divides it.
pub(crate) fn print_duration(ms: u32) -> String {
    let ms = u64::from(ms);
    let unit = UNITS.iter().find(|(_, factor)| ms > 0 && ms.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{ms}ms"), |(name, factor)| format!("{}{name}", ms / factor))
}

/// A whole number in decimal.
pub(crate) fn integer(text: &str, range: &RangeInclusive<u64>) -> Parsed<u64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || (digits.len() > 1 && digits.starts_with('0'))
    {
        return Err(Wrong::new(format!("`{text}` is not a whole number")).help("write it in decimal, without a unit"));
    }
    match text.parse::<u64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(Wrong::new(format!("{text} is out of range")).help(format!(
            "from {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

/// An address without a prefix length.
pub(crate) fn ip(text: &str) -> Parsed<IpAddr> {
    text.parse().map_err(|_| {
        if text.contains('/') {
            Wrong::new(format!("`{text}` is a prefix, an address is wanted")).help("leave out the part from `/` on")
        } else {
            Wrong::new(format!("`{text}` is not an IPv4 or IPv6 address"))
        }
    })
}

/// An address with a prefix length; the address may have host bits.
pub(crate) fn interface(text: &str) -> Parsed<IpNet> {
    with_length(text, |net| net)
}

/// An address with a prefix length; `usable` makes of it what would be right here, for advice.
fn with_length(text: &str, usable: fn(IpNet) -> IpNet) -> Parsed<IpNet> {
    let Some((address, length)) = text.split_once('/') else {
        let address = ip(text)?;
        let usual = if address.is_ipv4() { 24 } else { 64 };
        return Err(Wrong::new(format!("`{text}` has no prefix length"))
            .help(format!("the length tells which addresses are connected, as in {text}/{usual}")));
    };
    let address: IpAddr =
        address.parse().map_err(|_| Wrong::new(format!("`{address}` is not an IPv4 or IPv6 address")))?;
    prefix_length(address, length, usable)
}

/// A prefix, or an address standing for itself.
pub(crate) fn prefix(text: &str) -> Parsed<IpNet> {
    let net = if text.contains('/') { with_length(text, |net| net.trunc())? } else { IpNet::from(ip(text)?) };
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(Wrong::new(format!("`{text}` has host bits")).help(format!(
            "write {} for the network, or {} for the host",
            net.trunc(),
            net.addr()
        )))
    }
}

fn prefix_length(address: IpAddr, length: &str, usable: fn(IpNet) -> IpNet) -> Parsed<IpNet> {
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    if length.contains('.') || length.contains(':') {
        let mask = length.parse::<IpAddr>().ok().and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok());
        let wrong = Wrong::new(format!("bad mask `{length}`"));
        return Err(match mask.and_then(|bits| IpNet::new(address, bits).ok()) {
            Some(net) => wrong.help(format!("write {}", usable(net))),
            None => wrong.help(format!("write the number of network bits, 0 to {most}")),
        });
    }
    let bits = integer(length, &(0..=u64::from(most)))
        .map_err(|_| Wrong::new(format!("bad mask `/{length}`")).help(format!("from /0 to /{most}")))?;
    IpNet::new(address, bits as u8).map_err(|_| Wrong::new(format!("bad mask `/{length}`")))
}

/// A prefix as short as it can be written.
pub(crate) fn print_prefix(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// One transport port or a range `first-last`.
pub(crate) fn ports(text: &str) -> Parsed<RangeInclusive<u16>> {
    let one = |text: &str| integer(text, &(0..=65535)).map(|n| n as u16);
    let Some((first, last)) = text.split_once('-').filter(|(first, _)| !first.is_empty()) else {
        return one(text).map(|port| port..=port).map_err(|wrong| match text.bytes().next() {
            Some(b'0'..=b'9' | b'-') => wrong,
            _ => Wrong::new(format!("`{text}` is not a port number"))
                .help("a number from 0 to 65535 or a range as in 1024-65535"),
        });
    };
    let (first, last) = (one(first.trim())?, one(last.trim())?);
    if first > last {
        return Err(
            Wrong::new(format!("port range `{text}` is reversed")).help(format!("did you mean `{last}-{first}`?"))
        );
    }
    Ok(first..=last)
}

/// Ports as [`ports`] reads them.
pub(crate) fn print_ports(range: &RangeInclusive<u16>) -> String {
    if range.start() == range.end() { range.start().to_string() } else { format!("{}-{}", range.start(), range.end()) }
}

/// Protocols with a name.
pub(crate) const PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", proto::TCP),
    ("udp", proto::UDP),
    ("udplite", proto::UDPLITE),
    ("icmp", proto::ICMP),
    ("icmpv6", proto::ICMPV6),
    ("sctp", proto::SCTP),
    ("gre", proto::GRE),
    ("esp", 50),
    ("ah", 51),
];

/// Whether the protocol's header has ports.
pub(crate) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP)
}

/// A protocol's name, or its number.
pub(crate) fn print_protocol(number: u8) -> String {
    PROTOCOLS.iter().find(|(_, n)| *n == number).map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// The word of `words` nearest to `text`, if any is near enough to have been meant.
pub(crate) fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    // A comparison takes time with the product of the lengths.
    if text.len() > 64 {
        return None;
    }
    let far = |word: &str| (text.chars().count().max(word.chars().count()) / 3).max(1);
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&text, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= far(word))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Whether a text may name a port, set, chain or helper.
pub(crate) fn is_name(text: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}
