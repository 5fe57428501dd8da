//! Rules: from a specification to a validated ruleset to a verdict per packet.
//!
//! Owns the words of rules ([`spec`]), what makes a set of them valid ([`PolicyError`]) and the matcher
//! ([`Ruleset`]). Holds always: a `Ruleset` that exists is free of loops, of dangling names and of conditions
//! that have no meaning where they stand, so [`Ruleset::decide`] cannot fail, allocate, recurse or run without
//! bound. Must not know: the connection table, the bytes of a packet, file positions (errors carry indices).
//!
//! Semantics are nftables': rules are tried in order, the first final verdict ends the hook, `jump` comes back,
//! `goto` does not (the end of its chain goes back to where the last `jump` was), `return` ends a chain, and
//! the end of a base chain is its policy. A packet of one family never matches an address of the other.
//!
//! Design note. Rules are tried one by one over a flat array of two-cache-line records, the cheap conditions in
//! the first line. A decision tree would win on long rulesets, but only connections' first packets come here:
//! the verdict of a known connection is remembered beside it, together with the [`Trail`] of rules to count. Verdicts
//! that hang on state, protocol and the router's ports alone are found when the ruleset is compiled.

pub mod spec;
mod check;
mod compile;
mod cover;
mod error;
mod foregone;
mod ranges;
mod ruleset;

pub use error::{Field, PolicyError, PolicyErrorKind, PolicyWarning, PolicyWarningKind};
pub use ruleset::{Decider, Decision, Input, RuleIndex, Ruleset, SlotInfo, Trail, Verdict};

/// Chains a packet can be inside of at once, the base chain counted (nftables' limit).
pub const MAX_NESTING: usize = 16;

/// Most rule and policy slots of one ruleset, so that a slot's number fits 16 bits.
pub const MAX_SLOTS: usize = u16::MAX as usize;

/// Most rules a packet may have to be tried against at one hook, jumps followed.
pub const MAX_STEPS: usize = 1 << 18;

#[cfg(test)]
mod tests;
