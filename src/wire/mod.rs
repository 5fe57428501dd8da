//! Bytes to fields and back: the packet parser, the rewriter, and the builders of the router's own packets.
//!
//! Owns what an octet on the wire means. [`parse()`] turns a frame into [`Parsed`], which is all that later stages look
//! at; they trust its offsets and re-check nothing. Below the transport layer a damaged packet is a
//! [`DropReason`](crate::net::DropReason); from the transport layer on nothing is dropped here, the damage becomes a label
//! in the [`Summary`](crate::net::Summary).
//!
//! Always holds: no input makes anything here panic or allocate (but for the text of [`describe()`]); octets behind the IP
//! datagram (link padding) are never read; a rewrite leaves checksums as right or wrong as they were.
//!
//! Must not know: connections, ports of the router, policy, time.

pub mod arp;
pub mod checksum;
mod answer;
mod build;
mod describe;
mod error;
pub mod ethernet;
mod fragment;
pub mod glance;
mod gre;
mod icmp;
mod icmpv6;
pub mod ipv4;
mod ipv6;
mod ipv6_options;
pub mod nd;
pub mod options;
mod parse;
mod plain;
mod quoted;
mod rewrite;
mod sctp;
mod segment;
mod tcp;
mod udp;

pub use answer::{echo_reply, tcp_reset, without_extensions};
pub use build::Link;
pub use describe::{Describe, describe};
pub use error::{IcmpError, Unreachable, at_end_error, hop_by_hop_error, icmp_error, may_answer_with_error};
pub use ethernet::Vlan;
pub use fragment::{Fragments, SourceFragments, fragment_ipv4, fragment_ipv6};
pub use gre::is_enhanced_gre;
pub use parse::{Fragment, Kind, Parsed, Verify, parse, parse_into, parse_ip};
pub use quoted::{Quoted, quoted};
pub use rewrite::{decrement_ttl, finish_partial, link_addresses, pop_vlan, push_vlan, set_link, vlan_header};
pub use segment::{Segments, segments};
#[cfg(test)]
mod tests;
