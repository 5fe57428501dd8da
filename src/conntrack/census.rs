//! What a table holds, by protocol and state. The sweep, which comes by every entry, counts them as it goes; what a
//! packet costs does not change.

use super::counts::ProtoClass;
use super::entry::{Entry, status};
use super::pack;
use super::proto::TcpState;
use crate::net::proto;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// TCP's own state.
    Tcp(TcpState),
    /// Of the others: nobody answered yet.
    Unreplied,
    /// There was an answer.
    Replied,
    /// And it lasts: not to be given up for others.
    Assured,
}

/// The stages of protocols without states that are counted.
const OTHERS: [Stage; 3] = [Stage::Unreplied, Stage::Replied, Stage::Assured];

const TCP: usize = TcpState::ALL.len();
const KINDS: usize = TCP + (ProtoClass::ALL.len() - 1) * OTHERS.len();

/// Connections by protocol and stage: as of the last full round, and what the present one has met so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Census {
    last: [u32; KINDS],
    present: [u32; KINDS],
}

impl Census {
    pub(super) const fn new() -> Census {
        Census { last: [0; KINDS], present: [0; KINDS] }
    }

    /// Another round begins.
    pub(super) fn turn(&mut self) {
        self.last = std::mem::replace(&mut self.present, [0; KINDS]);
    }

    #[inline]
    pub(super) fn meet(&mut self, entry: &Entry) {
        let kind = match entry.proto() {
            proto::TCP => pack::tcp_state(entry) as usize,
            number => {
                let grade = match () {
                    () if entry.is(status::ASSURED) => 2,
                    () => usize::from(entry.is(status::SEEN_REPLY)),
                };
                TCP + (ProtoClass::of(number) as usize - 1) * OTHERS.len() + grade
            }
        };
        if let Some(count) = self.present.get_mut(kind) {
            *count += 1;
        }
    }

    /// Every kind there can be, with how many the last full round met.
    pub(super) fn last(&self) -> impl Iterator<Item = (ProtoClass, Stage, u32)> + use<> {
        let tcp = TcpState::ALL.into_iter().map(|state| (ProtoClass::Tcp, Stage::Tcp(state)));
        let others = ProtoClass::ALL.into_iter().skip(1).flat_map(|class| OTHERS.map(|stage| (class, stage)));
        let last = self.last;
        tcp.chain(others).zip(last).map(|((class, stage), count)| (class, stage, count))
    }
}

const _: () = assert!(ProtoClass::Tcp as usize == 0, "the protocol with states is the first");
