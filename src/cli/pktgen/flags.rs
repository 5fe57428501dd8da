//! A stream file from the command line, so that both are read and judged alike.

use super::Args;
use crate::config::{Diagnostics, Place, Severity};
use std::fmt::Write as _;

/// What cannot even be written down as a file; text for a usage error.
pub(super) type Usage = String;

/// A value as YAML text: a list if there are commas, else itself; quoted where a plain word would mean something else.
fn scalar(text: &str) -> String {
    let plain =
        text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-' | '_' | '%')) && !text.is_empty();
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn list(text: &str) -> String {
    if !text.contains(',') {
        return scalar(text);
    }
    let items: Vec<_> = text.split(',').map(|item| scalar(item.trim())).collect();
    format!("[{}]", items.join(", "))
}

/// Which key names what a driver carries frames by.
fn place_key(driver: &str) -> &'static str {
    match driver {
        "af_packet" | "af_xdp" | "tap" | "dpdk" => "device",
        _ => "path",
    }
}

/// `NAME=DRIVER:PLACE[,ADDRESS/LENGTH]...[,via=GATEWAY]...[,KEY=VALUE]...` as an entry of `ports`.
fn port(text: &str) -> Result<String, Usage> {
    let form = || format!("`{text}` is not NAME=DRIVER:PLACE[,ADDRESS/LENGTH][,via=GATEWAY][,KEY=VALUE]");
    let (name, rest) = text.split_once('=').ok_or_else(form)?;
    if let Some(inside) = rest.trim().strip_prefix('{') {
        return Ok(format!("  {}: {{{inside}\n", scalar(name)));
    }
    let mut parts = rest.split(',').map(str::trim);
    let door = parts.next().ok_or_else(form)?;
    let (driver, place) = door.split_once(':').map_or((door, None), |(driver, place)| (driver, Some(place)));
    let mut out = format!("  {}: {{ driver: {}", scalar(name), scalar(driver));
    if let Some(place) = place {
        let _ = write!(out, ", {}: {}", place_key(driver), scalar(place));
    }
    let (mut addresses, mut gateways) = (Vec::new(), Vec::new());
    for part in parts {
        match part.split_once('=') {
            Some(("via", gateway)) => gateways.push(scalar(gateway)),
            Some(("vlan", tags)) => {
                let _ = write!(out, ", vlan: {}", list(&tags.replace('.', ",")));
            }
            Some((key, value)) => {
                let _ = write!(out, ", {}: {}", scalar(key), scalar(value));
            }
            None => addresses.push(scalar(part)),
        }
    }
    if !addresses.is_empty() {
        let _ = write!(out, ", addresses: [{}]", addresses.join(", "));
    }
    if !gateways.is_empty() {
        let _ = write!(out, ", gateway: [{}]", gateways.join(", "));
    }
    out.push_str(" }\n");
    Ok(out)
}

/// The ports that `--self-test` has unless it is given others.
const MEMORY: &str = "ports:
  left: { driver: memory, addresses: [10.77.1.2/24, \"fd77:1::2/64\"], gateway: [10.77.1.1, \"fd77:1::1\"] }
  right: { driver: memory, addresses: [10.77.2.2/24, \"fd77:2::2/64\"], gateway: [10.77.2.1, \"fd77:2::1\"] }
";

/// The stream file that the options describe: one stream from the first port to the second.
pub(super) fn text(args: &Args) -> Result<String, Usage> {
    let mut out = "version: 1\n".to_owned();
    if args.port.is_empty() && args.self_test {
        out.push_str(MEMORY);
    } else {
        if args.port.len() < 2 {
            return Err("give a FILE, two --port, or --self-test".to_owned());
        }
        out.push_str("ports:\n");
        for one in &args.port {
            out.push_str(&port(one)?);
        }
    }
    out.push_str("streams:\n  main:\n");
    for (key, value) in args.stream.values() {
        if let Some(value) = value {
            let _ = writeln!(out, "    {key}: {}", list(&value));
        }
    }
    if out.ends_with("main:\n") {
        out.truncate(out.len() - 1);
        out.push_str(" {}\n");
    }
    Ok(out)
}

/// The option that a line of [`text`] was written for.
fn option_of(line: &str) -> Option<String> {
    let (key, _) = line.trim_start().split_once(':')?;
    match line.len() - line.trim_start().len() {
        2 if key != "main" => Some(format!("--port {key}")),
        4 => Some(format!("--{key}")),
        _ => None,
    }
}

/// What is wrong with the file that [`text`] made, in terms of the options that it was made from.
pub(super) fn usage(mistakes: &Diagnostics) -> Usage {
    let option = |place: Place| {
        let text = &mistakes.sources().get(usize::from(place.source))?.text;
        option_of(text.lines().nth(text.get(..place.start as usize)?.matches('\n').count())?)
    };
    let errors = mistakes.list().iter().filter(|one| one.severity == Severity::Error).map(|one| {
        let option = one.place.and_then(option).map_or_else(String::new, |option| format!("{option}: "));
        let help = one.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        format!("{option}{}{help}", one.message)
    });
    errors.collect::<Vec<_>>().join("\nflowgate pktgen: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_become_entries() {
        let text = "left=af_packet:gen0,10.0.0.2/24,fd00::2/64,via=10.0.0.1,via=fd00::1,ring=4096";
        assert_eq!(
            port(text).unwrap(),
            "  left: { driver: af_packet, device: gen0, ring: 4096, addresses: [10.0.0.2/24, \"fd00::2/64\"], \
             gateway: [10.0.0.1, \"fd00::1\"] }\n"
        );
        assert_eq!(port("a=virtio_user:/run/a.sock").unwrap(), "  a: { driver: virtio_user, path: /run/a.sock }\n");
        assert_eq!(port("a=memory,vlan=7").unwrap(), "  a: { driver: memory, vlan: 7 }\n");
        assert_eq!(port("a=memory,vlan=100.20").unwrap(), "  a: { driver: memory, vlan: [100, 20] }\n");
        assert_eq!(port("a={ driver: memory }").unwrap(), "  a: { driver: memory }\n");
        assert!(port("af_packet:gen0").is_err());
    }

    #[test]
    fn values_cannot_break_out_of_their_place() {
        assert_eq!(scalar("a: b\nc: d"), "\"a: b\\nc: d\"");
        assert_eq!(list("64,128"), "[64, 128]");
        assert_eq!(list("a,b: {"), "[a, \"b: {\"]");
    }
}
