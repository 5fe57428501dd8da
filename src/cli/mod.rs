//! The subcommands, one file each. Owns what a person types and reads; decides nothing about packets.

pub mod bench;
pub mod check;
mod doctor;
mod files;
pub mod pktgen;
pub mod replay;
pub mod run;

use crate::config::Settings;
use crate::control::reserved_bytes;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// A stateful router in userspace.
///
/// Forwards packets between network interfaces by a policy on connection states, which are the ones Linux'
/// netfilter gives. Each worker thread polls its own queues and keeps its own connections.
#[derive(Debug, Parser)]
#[command(name = "flowgate", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Route until told to stop.
    ///
    /// Opens the configured ports, gives up all privileges but those needed to open a device anew, and prints
    /// one line when packets flow. SIGTERM and SIGINT send what is under way and end it with exit code 0. SIGHUP
    /// reads the configuration again: connections stay, and their next packets meet the new rules; a
    /// configuration with a mistake changes nothing. Log messages go to standard error.
    ///
    /// Exit codes: 0 stopped as told, 1 a bad configuration, a port that cannot be opened or a worker that
    /// died, 2 bad usage.
    Run(Run),

    /// Say everything that is wrong with configurations.
    ///
    /// Every mistake of every file is shown at once, at its line. For a good file: its ports and rules, and how
    /// much memory a run of it would reserve.
    ///
    /// Exit codes: 0 good, 1 a mistake, 2 bad usage, 3 a warning under --strict.
    Check(Check),

    /// Say what a run needs of this machine, and what of it is missing.
    ///
    /// Looks at every port, the cores and the memory, and changes nothing. One line for each check: ok, warning or
    /// missing; below what is not as it should be, the command that mends it. Run it where `run` is to run: as the
    /// same user, in the same network namespace or container.
    ///
    /// Exit codes: 0 all there, 1 something is missing or the configuration is bad, 2 bad usage, 3 a warning
    /// under --strict.
    Doctor(doctor::Args),

    /// Take captures through the router and say what became of every packet.
    ///
    /// Captures of several ports are merged by time; capture time is the clock, also of every timeout. Needs no
    /// privileges and touches no interface. Next hops answer at once. A port takes frames to any link address,
    /// unless the configuration names its own. Captures taken where checksums are left to the interface hold wrong
    /// ones: then set `conntrack.checksum: false`.
    ///
    /// Exit codes: 0 replayed to the end, 1 a bad configuration or capture, 2 bad usage.
    Replay(replay::Args),

    /// Measure how fast this machine routes.
    ///
    /// Prepared frames go through a whole worker between two memory ports: receive, parse, verify, look up, track,
    /// decide, route, rewrite, transmit, with counters and timers. In the same run, in turn, the same frames go through
    /// a floor: a loop that only reads the header, fetches the two lines of table memory any connection table needs,
    /// writes a word of one, counts the TTL down and sets the link addresses. The ratio of the two tells more than
    /// either, for it hardly depends on the machine and its other work. Every run compares what came out with what
    /// should have.
    ///
    /// Exit codes: 0 measured, 1 a run went wrong or a file cannot be read or written, 2 bad usage.
    Bench(bench::Args),

    /// Generate load, and check what comes back.
    ///
    /// Sends streams of packets from one port to another through whatever is between them, and says how many
    /// arrived, how many did not, in which order, and how long they took. Every packet carries a mark that tells
    /// stream, flow, place and time. Answers ARP and neighbour discovery like a host, and finds its next hops by
    /// them. Streams come from a file or from options. Every run has an end; an interrupt ends it with the results
    /// so far.
    ///
    /// Exit codes: 0 good, 1 more lost than acceptable, nothing measured, a bad stream file or a port that cannot be
    /// opened, 2 bad usage.
    Pktgen(Box<pktgen::Args>),
}

/// What `run` is given.
#[derive(Debug, clap::Args)]
struct Run {
    /// The configuration, a YAML file.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
}

/// What `check` is given.
#[derive(Debug, clap::Args)]
struct Check {
    /// Let warnings fail the check.
    #[arg(long)]
    strict: bool,
    /// Write the effective configuration, with every default filled in.
    #[arg(long)]
    print: bool,
    /// How the findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    /// Configurations, YAML files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// JSON, for programs.
    Json,
}

/// What a run of `settings` reserves at start.
fn reserved(settings: &Settings) -> check::Reserved {
    check::Reserved { parts: reserved_bytes(settings).parts().to_vec() }
}

fn check(args: Check) -> ExitCode {
    let format = match args.format {
        Format::Text => check::Format::Text,
        Format::Json => check::Format::Json,
    };
    let request = check::Check { strict: args.strict, print: args.print, format, files: args.files };
    check::run(&request, &reserved)
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => match cli.command {
            Command::Run(args) => run::run(&args.config),
            Command::Check(args) => check(args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Replay(args) => replay::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Pktgen(args) => pktgen::run(&args),
        },
        Err(error) => {
            // There is nobody to tell that nobody reads.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

#[cfg(test)]
mod tests;
