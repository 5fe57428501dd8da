//! `flowgate run`: start-up order, signals, exit code.

use super::doctor;
use crate::config::settings::{Driver, LogFormat, LogLevel, Settings};
use crate::config::{self, Diagnostics};
use crate::control::{Command, Configuration, Parts, Plane, exporter, port_needs, port_spec, umem};
use crate::driver::needs::Host;
use crate::driver::privileges::{Keep, drop_to};
use crate::driver::{self, OpenPort, PortSpec};
use crate::metrics::serve;
use crate::worker::Clock;
use crossbeam_channel::{Receiver, unbounded};
use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tracing::{Level, error, info, warn};

/// Routes by the configuration `file` until a signal ends it.
#[must_use]
pub fn run(file: &Path) -> ExitCode {
    let configuration = match load(file) {
        Ok(configuration) => configuration,
        Err(mistakes) => {
            say(&mistakes);
            return ExitCode::FAILURE;
        }
    };
    say(&configuration.warnings);
    log_as(&configuration.settings);
    match route(configuration, file) {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard error. Like the log, it may be a pipe whose reader has ended, which ends no router.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Reads a configuration; the error is its mistakes, rendered.
fn load(file: &Path) -> Result<Configuration, String> {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let loaded = config::load(file).map_err(|mistakes| {
        let count = mistakes.errors();
        format!("{}{}: {count} error{}\n", mistakes.render(color), file.display(), if count == 1 { "" } else { "s" })
    })?;
    Ok(Configuration {
        sha256: digest(&loaded.diagnostics),
        path: file.display().to_string(),
        warnings: loaded.diagnostics.render(color),
        settings: loaded.settings,
    })
}

/// SHA-256 of the configuration's own text, which is the first source.
fn digest(diagnostics: &Diagnostics) -> String {
    let text = diagnostics.sources().first().map_or("", |source| source.text.as_str());
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, octet| {
        let _ = write!(hex, "{octet:02x}");
        hex
    })
}

fn log_as(settings: &Settings) {
    let level = match settings.log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    // What cannot be logged would be complained about on the same descriptor, with a panic.
    let log = log.log_internal_errors(false);
    // A second call finds the first one's log in place.
    let _ = match settings.log.format {
        LogFormat::Text => log.with_ansi(color).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// Opens, starts, runs. Everything that needs privileges comes before they are dropped, everything that starts a
/// thread after it, because each thread inherits what its maker had.
fn route(configuration: Configuration, file: &Path) -> Result<(), String> {
    let settings = &configuration.settings;
    let clock = Clock::start();
    let ports = open(settings)?;
    let listener = listen(settings)?;
    drop_to(settings.ports.iter().map(|port| kept_for(&port.driver)).max().unwrap_or_default())
        .map_err(|error| error.to_string())?;
    let commands = signals()?;
    if let Some(core) = settings.workers.main_core
        && !core_affinity::set_for_current(core_affinity::CoreId { id: usize::from(core) })
    {
        warn!("the control thread could not be pinned to core {core}; the scheduler places it");
    }
    let exporter = Arc::new(exporter(settings, &ports, clock.now()));
    let ready = ready(settings, &ports, listener.as_ref());
    let mut seeds = seeds()?;
    let file = file.to_owned();
    let mut plane = Plane::start(Parts {
        configuration,
        ports,
        exporter: Arc::clone(&exporter),
        clock,
        secret: Box::new(move || seeds.next()),
        loader: Box::new(move || load(&file)),
    })
    .map_err(|error| error.to_string())?;
    let server = match listener {
        Some(listener) => Some(serve(listener, exporter).map_err(|error| format!("metrics endpoint: {error}"))?),
        None => None,
    };
    // Whoever closed standard output does not wait for the line.
    let _ = writeln!(std::io::stdout(), "{ready}");
    let end = plane.run(&commands).map_err(|failure| failure.to_string());
    if let Some(server) = server {
        server.stop();
    }
    end
}

/// What a port needs to be opened again.
fn kept_for(driver: &Driver) -> Keep {
    match driver {
        Driver::AfPacket { .. } => Keep::Raw,
        Driver::AfXdp { .. } => Keep::Admin,
        _ => Keep::Nothing,
    }
}

/// Opens every port; the first that cannot be opened ends it.
fn open(settings: &Settings) -> Result<Vec<OpenPort>, String> {
    let mut ports = Vec::with_capacity(settings.ports.len());
    let umem = umem(settings).map_err(|error| error.to_string())?;
    for port in &settings.ports {
        let spec = PortSpec { umem: umem.clone(), ..port_spec(settings, port) };
        let opened = driver::open(&spec).map_err(|error| {
            // What else would stand in the way next.
            let advice = doctor::advice(&port_needs(settings, port, &Host::this()));
            if advice.is_empty() { error.to_string() } else { format!("{error}\n{}", advice.trim_end()) }
        })?;
        for warning in &opened.warnings {
            warn!("{warning}");
        }
        ports.push(opened);
    }
    Ok(ports)
}

fn listen(settings: &Settings) -> Result<Option<TcpListener>, String> {
    let Some(metrics) = &settings.metrics else { return Ok(None) };
    TcpListener::bind(metrics.listen)
        .map(Some)
        .map_err(|error| format!("metrics: could not listen on {}: {error}", metrics.listen))
}

/// Turns signals into commands.
fn signals() -> Result<Receiver<Command>, String> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|error| format!("could not catch signals: {error}"))?;
    let (send, commands) = unbounded();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                let command = if signal == SIGHUP { Command::Reload } else { Command::Stop };
                if send.send(command).is_err() {
                    break;
                }
            }
        })
        .map_err(|error| format!("could not start a thread: {error}"))?;
    Ok(commands)
}

/// Secrets from the system's random numbers: one fetch, then a generator keyed by it.
struct Seeds {
    key: [u8; 32],
    drawn: u64,
}

fn seeds() -> Result<Seeds, String> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| format!("no random numbers from the system: {error}"))?;
    Ok(Seeds { key, drawn: 0 })
}

impl Seeds {
    fn next(&mut self) -> u64 {
        self.drawn += 1;
        let digest = Sha256::new().chain_update(self.key).chain_update(self.drawn.to_ne_bytes()).finalize();
        digest.iter().take(8).fold(0, |word, octet| word << 8 | u64::from(*octet))
    }
}

/// The line that says that packets flow.
fn ready(settings: &Settings, ports: &[OpenPort], listener: Option<&TcpListener>) -> String {
    let mut line = "flowgate ready: ".to_owned();
    for (index, (port, open)) in settings.ports.iter().zip(ports).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let (driver, target) = (port.driver.word(), port.driver.target());
        let device = if target.is_empty() { driver.to_owned() } else { format!("{driver} {target}") };
        let (mac, link) = (open.info.mac, open.info.link.label());
        let _ = write!(line, "{comma}{} ({device}, {mac}, link {link})", port.name);
    }
    let workers = settings.workers.count;
    let _ = write!(line, "; {workers} worker{}", if workers == 1 { "" } else { "s" });
    match listener.and_then(|listener| listener.local_addr().ok()) {
        Some(address) => {
            let _ = write!(line, "; metrics http://{address}/metrics");
        }
        None => line.push_str("; no metrics"),
    }
    line
}
