//! The interfaces of a network namespace, asked of the kernel by rtnetlink(7).

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, State, XdpAttached,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// The kernel's name.
    pub name: String,
    /// Its kind where it is virtual: `veth`, `tun`, `macvlan` …
    pub kind: Option<String>,
    /// Whether it speaks Ethernet.
    pub ethernet: bool,
    /// Switched on.
    pub up: bool,
    /// Has a carrier. Says nothing while it is switched off.
    pub carrier: bool,
    /// Largest IP packet in octets.
    pub mtu: u32,
    /// The kernel's own addresses on it.
    pub addresses: Vec<IpAddr>,
    /// The number of the interface it is tied to: a veth's other end, perhaps in another namespace.
    pub peer: Option<u32>,
    /// The namespace that one is in, by the number it has here, if it is another one.
    pub peer_namespace: Option<i32>,
    /// The XDP program attached to it.
    pub program: Option<Program>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// The word `ip link` has for the mode it is attached in.
    pub mode: &'static str,
    /// The kernel's number of it.
    pub id: u32,
}

/// All interfaces of the calling thread's network namespace.
pub(super) fn all() -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    for message in dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
        if let RouteNetlinkMessage::NewLink(message) = message {
            links.push(link(&message));
        }
    }
    for message in dump(RouteNetlinkMessage::GetAddress(Default::default()))? {
        let RouteNetlinkMessage::NewAddress(message) = message else { continue };
        let Some(link) = links.iter_mut().find(|link| link.index == message.header.index) else { continue };
        // Of a point-to-point interface the address is the peer's, and the local one stands beside it.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let own = local.or_else(|| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        });
        link.addresses.extend(own);
    }
    Ok(links)
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Link(peer) => link.peer = Some(*peer),
            LinkAttribute::LinkNetNsId(id) => link.peer_namespace = Some(*id),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            // Some drivers keep the flag and tell by the state alone.
            LinkAttribute::OperState(State::Down | State::LowerLayerDown) => link.carrier = false,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            LinkAttribute::Xdp(parts) => link.program = program(parts),
            _ => {}
        }
    }
    link
}

fn program(parts: &[LinkXdp]) -> Option<Program> {
    let id = parts.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) if *id != 0 => Some(*id),
        _ => None,
    })?;
    let mode = parts.iter().find_map(|part| match part {
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some("xdpgeneric"),
        LinkXdp::Attached(XdpAttached::Driver) => Some("xdpdrv"),
        LinkXdp::Attached(XdpAttached::Hardware) => Some("xdpoffload"),
        _ => None,
    });
    Some(Program { mode: mode.unwrap_or("xdp"), id })
}

/// The number that the calling thread's network namespace has for the one behind a descriptor, if it has one.
pub(in crate::driver) fn namespace_id(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut request = NsidMessage::default();
    request.attributes.push(NsidAttribute::Fd(fd.as_raw_fd() as u32));
    let answers = exchange(RouteNetlinkMessage::GetNsId(request), NLM_F_REQUEST).ok()?;
    answers.iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewNsId(message) => message.attributes.iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(id) if *id >= 0 => Some(*id),
            _ => None,
        }),
        _ => None,
    })
}

fn dump(request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    exchange(request, NLM_F_REQUEST | NLM_F_DUMP)
}

/// Asks; without `NLM_F_DUMP` the answer is one message.
fn exchange(request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut packet = NetlinkMessage::from(request);
    packet.header.flags = flags;
    packet.finalize();
    let mut octets = vec![0; packet.buffer_len()];
    packet.serialize(&mut octets);
    socket.send(&octets, 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                _ => {}
            }
            rest = rest.get(length.max(16)..).unwrap_or_default();
        }
        if flags & NLM_F_DUMP == 0 {
            return Ok(answers);
        }
    }
}
