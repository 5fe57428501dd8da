//! flowgate: a stateful router in userspace, netfilter's connection states at the pace of a poll loop.
//!
//! # The journey of a packet
//!
//! A port's receive queue gives a burst ([`driver`], [`frame`]) to the [`worker`] that polls it. The worker's
//! [`shard`] takes it in two passes: first every frame is parsed ([`wire`]), its tuple hashed and the line of
//! the connection table fetched; then each packet is judged in turn:
//!
//! 1. *Whose is it?* A tuple that is in no table here may be another shard's: [`steer::owner`] names it, and
//!    the frame is handed over. A fragment waits in [`frag`] until its datagram is complete.
//! 2. *What state has it?* [`conntrack`] moves the known connection on, or opens a candidate, or asks which
//!    expectation or quoted packet it belongs to: NEW, ESTABLISHED, RELATED, INVALID.
//! 3. *Where does it go?* [`route`] finds the next hop; TTL and size are checked.
//! 4. *May it?* [`policy`] decides on state, addresses and ports. For an established connection steps 3 and 4
//!    are remembered in its entry.
//! 5. A [`helper`] may read what it announces; a new connection enters the table only now.
//! 6. TTL and link addresses are rewritten, and the frame joins the egress port's burst.
//!
//! Whatever cannot be done on that path goes to [`control`]: neighbours, reload, links. Every packet ends in
//! exactly one counted way ([`shard::End`], [`net::DropReason`], [`metrics`]).
//!
//! # Who may use whom
//!
//! The modules below stand in journey order, and each names only those before it; `tests/layering.rs` holds
//! the exact table. Nothing on the packet's way knows [`config`], nothing but [`driver`] knows a kernel or a
//! NIC, [`conntrack`] never sees bytes, and time is always an argument ([`net::Now`]).
//!
//! # Words
//!
//! *Worker*: a pinned thread with its poll loop. *Shard*: all state one worker owns. *Burst*: the packets of one
//! receive call. *Owner*: the shard a tuple hashes to. *Hand-off*: passing a frame to its owner. *Punt*: giving a
//! frame to the control plane. *Snapshot*: the immutable compiled configuration in force, with its epoch.
//! *State*: NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED; the *protocol state* is the protocol's own
//! (SYN_SENT, TIME_WAIT). Tuple, original and reply direction, expectation, helper, verdict, assured: as in
//! netfilter.

#[cfg(not(target_os = "linux"))]
compile_error!("flowgate runs on Linux");

pub mod net;
pub mod frame;
pub mod driver;
pub mod wire;
pub mod steer;
pub mod frag;
pub mod conntrack;
pub mod helper;
pub mod policy;
pub mod route;
pub mod metrics;
pub mod shard;
pub mod worker;
pub mod config;
pub mod control;
pub mod pktgen;
pub mod bench;
pub mod cli;
