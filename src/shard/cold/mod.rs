//! The doors off the hit path: reached by a miss, a flag of the parser or a refusal, and kept out of the
//! instruction lines of the journey.

mod errors;
mod expectations;
mod fragments;
pub(super) mod helpers;
mod input;
mod neighbours;
mod options;
pub(super) mod quotas;
pub(super) mod tags;
