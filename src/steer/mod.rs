//! Who owns a tuple, and how a frame or an announcement gets to its owner.
//!
//! Owns the owner function ([`owner`]), the classic BPF program that computes the same function in the
//! kernel ([`fanout_program`]), the rings between workers ([`mesh`]) and the shared [`Directory`] of
//! expectations, whose owner cannot be computed because the source port is not known yet.
//! Holds always: a tuple and its inverse have one owner; a frame never leaves the worker whose pool lent
//! its buffer, only its bytes do; whoever takes an expectation out is the only one to have it.
//! Must not know: connections, policy, and what a frame's bytes mean.

mod calls;
mod directory;
mod fanout;
#[allow(unsafe_code)]
mod mailbox;
mod owner;
mod quota;

pub use calls::{CallIds, Calls, Ended};
pub use directory::{AddResult, Claim, Directory, Handle, Key, Offer};
pub use fanout::{BpfInstruction, fanout_program};
pub use mailbox::{Full, Handoff, Links, MeshError, Receiver, RingConfig, Sender, Stage, mesh};
pub use owner::{
    Homes, INDIRECTION_ENTRIES, SYMMETRIC_KEY, SYMMETRIC_KEY_52, owner, owner_of_addresses, steering_hash,
};
pub use quota::{Quotas, Reached};
