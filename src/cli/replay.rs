//! `flowgate replay`: captures through the router, without privileges.

pub mod session;
