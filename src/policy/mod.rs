//! Rules: from a specification to a validated ruleset to a verdict per packet.

pub mod spec;
