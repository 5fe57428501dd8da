//! The part `conntrack.zones`.

use super::load::Scope;
use super::read::{Keys, Reader};
use super::settings::{PortZone, ZoneDirection};
use super::tree::{Kind, Node};
use crate::net::PortId;

const ZONE: Keys = Keys { known: &["id", "direction", "limit"], later: &[] };

/// Reads the zones of ports: `lan: 5`, or `lan: { id: 5, direction: original, limit: 1000 }`.
pub(super) fn zones(r: &mut Reader, node: &Node, scope: &Scope) -> Vec<PortZone> {
    let mut zones: Vec<PortZone> = Vec::new();
    for entry in r.entries(node, "zones") {
        let port = r.reference(entry.key_place, "port", &entry.key, scope.ports.iter().map(String::as_str));
        let mut zone = PortZone { port: PortId(0), id: 0, direction: ZoneDirection::Both, limit: None };
        let id = if matches!(entry.value.kind, Kind::Map(_)) {
            let Some(map) = r.map(&entry.value, &format!("zone of `{}`", entry.key), ZONE) else { continue };
            r.set(&map, "direction", &mut zone.direction, |r, n| r.word(n, "direction", ZoneDirection::WORDS, &[]));
            r.set(&map, "limit", &mut zone.limit, |r, n| Some(Some(r.int(n, "limit", 1..=1 << 28)? as u32)));
            match map.get("id") {
                Some(node) => r.int(node, "id", 1..=65535),
                None => {
                    r.error(entry.key_place, format!("zone of `{}` has no `id`", entry.key)).help("write `id: 1`");
                    None
                }
            }
        } else {
            r.int(&entry.value, "zones", 1..=65535)
        };
        let (Some(port), Some(id)) = (port, id) else { continue };
        (zone.port, zone.id) = (PortId(port as u8), id as u16);
        let other = zones.iter().find(|other| other.id == zone.id && other.limit.is_some() && zone.limit.is_some());
        if other.is_some_and(|other| other.limit != zone.limit) {
            r.error(entry.key_place, format!("zone {} has two limits", zone.id)).help("write it once");
        }
        zones.push(zone);
    }
    zones.sort_by_key(|zone| zone.port);
    zones
}
