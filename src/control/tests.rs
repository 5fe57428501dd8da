//! A whole router on memory ports: hosts on both sides are tests, time is real, waits are bounded.

mod bench;
mod compile;
mod ends;
mod life;
mod reload;
mod traffic;
