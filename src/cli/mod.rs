//! The subcommands, one file each. Owns what a person types and reads; decides nothing about packets.

pub mod check;
pub mod replay;
