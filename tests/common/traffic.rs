//! Mixed traffic of many hosts, the same for the same seed.

use super::{LINK, echo, icmp, ip, pieces, raw, tcp, udp, unreachable};

/// A small generator of numbers, good enough to mix packets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 .. n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n + 1));
        }
    }
}

/// A packet and the port it comes in by.
pub type Packet = (&'static str, Vec<u8>);

/// One conversation between a host on the lan and one on the wan, in order.
struct Conversation<'a> {
    random: &'a mut Random,
    client: String,
    server: String,
    ports: (u16, u16),
    packets: Vec<Packet>,
}

impl<'a> Conversation<'a> {
    fn new(random: &'a mut Random) -> Self {
        let (c, s) = (2 + random.below(60), 2 + random.below(60));
        let (client, server) = if random.one_in(2) {
            (format!("10.0.1.{c}"), format!("10.0.2.{s}"))
        } else {
            (format!("fd00:1::{c:x}"), format!("fd00:2::{s:x}"))
        };
        let ports = (1024 + random.below(60_000) as u16, *random.pick(&[53, 80, 443, 113, 7000]));
        Conversation { random, client, server, ports, packets: Vec::new() }
    }

    fn up(&mut self, flags: &str, numbers: (u32, u32), payload: &[u8]) {
        let frame = tcp(&self.client, &self.server, self.ports, flags, numbers, payload);
        self.push("lan", frame);
    }

    fn down(&mut self, flags: &str, numbers: (u32, u32), payload: &[u8]) {
        let ports = (self.ports.1, self.ports.0);
        let frame = tcp(&self.server, &self.client, ports, flags, numbers, payload);
        self.push("wan", frame);
    }

    /// Adds a packet; now and then twice, damaged, about to expire, or in fragments that come in any order.
    fn push(&mut self, port: &'static str, frame: Vec<u8>) {
        match self.random.below(40) {
            0 => self.packets.push((port, frame.clone())),
            1 => {
                let mut damaged = frame.clone();
                let at = LINK + self.random.below(frame.len() - LINK);
                damaged[at] ^= 1 << self.random.below(8);
                self.packets.push((port, damaged));
            }
            2 => self.packets.push((port, super::with_ttl(frame.clone(), 1))),
            3 | 4 => return self.push_pieces(port, &frame),
            _ => {}
        }
        self.packets.push((port, frame));
    }

    fn push_pieces(&mut self, port: &'static str, frame: &[u8]) {
        let transport = if ip(&self.client).is_ipv4() { LINK + 20 } else { LINK + 40 };
        let least = if ip(&self.client).is_ipv4() { 8 } else { 40 };
        let size = least + 8 * self.random.below(20);
        if frame.len() - transport <= size {
            return self.packets.push((port, frame.to_vec()));
        }
        let id = self.random.next() as u32 & 0xffff;
        let mut parts = pieces(frame, size, id);
        match self.random.below(8) {
            // One is lost, or comes twice, or all come in any order.
            0 => drop(parts.pop()),
            1 => parts.insert(1, parts[0].clone()),
            2 | 3 => self.random.shuffle(&mut parts),
            _ => {}
        }
        self.packets.extend(parts.into_iter().map(|part| (port, part)));
    }

    /// An error about the last packet of the other side, now and then to the wrong host, often in fragments.
    fn complain(&mut self) {
        let Some((port, offending)) = self.packets.last().cloned() else { return };
        let (from, to) = match port {
            "lan" => (self.server.clone(), self.client.clone()),
            _ => (self.client.clone(), self.server.clone()),
        };
        let error = unreachable(&from, &to, &offending);
        let back = if port == "lan" { "wan" } else { "lan" };
        if self.random.one_in(3) { self.push_pieces(back, &error) } else { self.push(back, error) }
    }

    fn tcp(&mut self) {
        let (mut c, mut s) = (self.random.next() as u32, self.random.next() as u32);
        if !self.random.one_in(10) {
            self.up("S", (c, 0), b"");
            c = c.wrapping_add(1);
            if self.random.one_in(8) {
                self.complain();
            }
            match self.random.below(10) {
                0 => return self.down("R.", (0, c), b""),
                1 => self.down("S.", (s, c.wrapping_add(9)), b""),
                _ => {}
            }
            self.down("S.", (s, c), b"");
            s = s.wrapping_add(1);
            self.up(".", (c, s), b"");
        }
        for _ in 0..self.random.below(6) {
            let len = 1 + self.random.below(600);
            let payload = self.random.octets(len);
            if self.random.one_in(2) {
                self.up(".P", (c, s), &payload);
                c = c.wrapping_add(len as u32);
                self.down(".", (s, c), b"");
            } else {
                self.down(".P", (s, c), &payload);
                s = s.wrapping_add(len as u32);
                self.up(".", (c, s), b"");
            }
            match self.random.below(16) {
                0 => self.complain(),
                1 => self.up(".", (c.wrapping_add(1_000_000), s), b""),
                2 => self.down("S", (s, 0), b""),
                3 => self.up("SF", (c, s), b""),
                4 => self.down("R", (s.wrapping_add(10), 0), b""),
                _ => {}
            }
        }
        match self.random.below(4) {
            0 => self.up("R", (c, 0), b""),
            1 => {}
            _ => {
                self.up(".F", (c, s), b"");
                self.down(".", (s, c.wrapping_add(1)), b"");
                self.down(".F", (s, c.wrapping_add(1)), b"");
                self.up(".", (c.wrapping_add(1), s.wrapping_add(1)), b"");
                // The port is used again at once.
                if self.random.one_in(3) {
                    self.up("S", (c.wrapping_add(99_999), 0), b"");
                }
            }
        }
    }

    fn udp(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            let len = self.random.below(900);
            let payload = self.random.octets(len);
            let (c, s) = self.ports;
            let up = self.random.below(3) > 0;
            let frame = if up {
                udp(&self.client, &self.server, (c, s), &payload)
            } else {
                udp(&self.server, &self.client, (s, c), &payload)
            };
            let port = if up { "lan" } else { "wan" };
            if self.random.one_in(3) {
                self.push_pieces(port, &frame)
            } else {
                self.push(port, frame)
            }
            if self.random.one_in(3) {
                self.complain();
            }
        }
    }

    fn echo(&mut self) {
        let id = self.ports.0;
        for _ in 0..3 {
            let payload = self.random.octets(300);
            let ask = echo(&self.client, &self.server, false, id, &payload);
            let answer = echo(&self.server, &self.client, true, id, &payload);
            for (port, frame) in [("lan", ask), ("wan", answer)] {
                if self.random.one_in(3) { self.push_pieces(port, &frame) } else { self.push(port, frame) }
            }
        }
    }

    fn ftp(&mut self) {
        self.ports.1 = 21;
        let control = self.ports;
        let (mut c, mut s) = (self.random.next() as u32, self.random.next() as u32);
        self.up("S", (c, 0), b"");
        c = c.wrapping_add(1);
        self.down("S.", (s, c), b"");
        s = s.wrapping_add(1);
        self.up(".", (c, s), b"");
        self.down(".P", (s, c), b"220 ready\r\n");
        s = s.wrapping_add(11);
        self.up(".P", (c, s), b"USER me\r\n");
        c = c.wrapping_add(9);
        for _ in 0..1 + self.random.below(3) {
            let data = 1024 + self.random.below(60_000) as u16;
            let active = self.random.one_in(2);
            let line = match (ip(&self.client).is_ipv4(), active) {
                (true, true) => {
                    format!("PORT {},{},{}\r\n", self.client.replace('.', ","), data >> 8, data & 0xff)
                }
                (true, false) => {
                    format!("227 go ({},{},{}).\r\n", self.server.replace('.', ","), data >> 8, data & 0xff)
                }
                (false, true) => format!("EPRT |2|{}|{data}|\r\n", self.client),
                (false, false) => format!("229 go (|||{data}|)\r\n"),
            };
            let len = line.len() as u32;
            if active {
                if self.random.one_in(4) {
                    self.up(".P", (c, s), &line.as_bytes()[..9]);
                }
                self.up(".P", (c, s), line.as_bytes());
                c = c.wrapping_add(len);
                self.down(".", (s, c), b"");
            } else {
                self.down(".P", (s, c), line.as_bytes());
                s = s.wrapping_add(len);
                self.up(".", (c, s), b"");
            }
            self.data(active, data);
            self.ports = control;
        }
        self.up("R", (c, 0), b"");
    }

    /// A data connection that was just announced.
    fn data(&mut self, active: bool, port: u16) {
        let other = 1024 + self.random.below(60_000) as u16;
        let (a, b) = (self.random.next() as u32, self.random.next() as u32);
        let (opener, listener) = if active {
            (("wan", self.server.clone()), ("lan", self.client.clone()))
        } else {
            (("lan", self.client.clone()), ("wan", self.server.clone()))
        };
        let forth =
            |flags, numbers, payload: &[u8]| tcp(&opener.1, &listener.1, (other, port), flags, numbers, payload);
        let back = |flags, numbers, payload: &[u8]| tcp(&listener.1, &opener.1, (port, other), flags, numbers, payload);
        self.push(opener.0, forth("S", (a, 0), b""));
        match self.random.below(6) {
            0 => return self.push(listener.0, back("R.", (0, a.wrapping_add(1)), b"")),
            1 => self.complain(),
            _ => {}
        }
        let (a, b) = (a.wrapping_add(1), b.wrapping_add(1));
        self.push(listener.0, back("S.", (b.wrapping_sub(1), a), b""));
        self.push(opener.0, forth(".", (a, b), b""));
        self.push(listener.0, back(".P", (b, a), &[0x55; 400]));
    }

    /// What belongs to nothing, goes nowhere, or is nothing.
    fn junk(&mut self) {
        let (c, s) = (self.client.clone(), self.server.clone());
        let own = if ip(&c).is_ipv4() { "10.0.1.1" } else { "fd00:1::1" };
        let nowhere = if ip(&c).is_ipv4() { "192.0.2.7" } else { "2001:db8::7" };
        let proto = self.random.next() as u8;
        let len = self.random.below(64);
        let payload = self.random.octets(len);
        let kind = self.random.next() as u8;
        let frame = match self.random.below(8) {
            0 => raw(&c, &s, proto, &payload),
            1 => icmp(&c, &s, kind, 0, 0, &payload),
            2 => echo(&c, own, false, self.ports.0, &payload),
            3 => udp(&c, nowhere, self.ports, &payload),
            4 => tcp(&c, own, self.ports, "S", (1, 0), b""),
            5 => udp(&c, &s, (self.ports.0, 9000), &payload),
            6 => super::with_tags(&udp(&c, &s, self.ports, &payload), &[(0x8100, 7)]),
            _ => self.random.octets(100),
        };
        let port = *self.random.pick(&["lan", "lan", "wan"]);
        self.push(port, frame);
    }
}

/// So many conversations, woven into one another.
pub fn mixed(seed: u64, conversations: usize) -> Vec<Packet> {
    let mut random = Random::new(seed);
    let mut queues: Vec<std::vec::IntoIter<Packet>> = Vec::new();
    for _ in 0..conversations {
        let kind = random.below(10);
        let mut talk = Conversation::new(&mut random);
        match kind {
            0..=2 => talk.tcp(),
            3 | 4 => talk.udp(),
            5 => talk.echo(),
            6 | 7 => talk.ftp(),
            _ => talk.junk(),
        }
        queues.push(talk.packets.into_iter());
    }
    let mut out = Vec::new();
    // A window moves over the conversations, so that some begin when others end.
    let mut open: Vec<std::vec::IntoIter<Packet>> = Vec::new();
    let mut waiting = queues.into_iter();
    loop {
        while open.len() < 24 {
            let Some(queue) = waiting.next() else { break };
            open.push(queue);
        }
        if open.is_empty() {
            return out;
        }
        let at = random.below(open.len());
        match open[at].next() {
            Some(packet) => out.push(packet),
            None => drop(open.swap_remove(at)),
        }
    }
}
