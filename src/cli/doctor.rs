//! `flowgate doctor`: what a run needs of this machine, what of it is missing, and the command that mends it.

use crate::config;
use crate::control::{Report, run_needs};
use crate::driver::needs::{Finding, Host, Level};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Format;

/// What `doctor` is given.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration, a YAML file.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Let warnings fail.
    #[arg(long)]
    strict: bool,
    /// How the findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
}

/// Looks at everything the configuration needs and says how it is.
pub(super) fn run(args: &Args) -> ExitCode {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            let _ = std::io::stderr().write_all(mistakes.render(color).as_bytes());
            if args.format == Format::Json {
                let object = json!({ "file": args.config.display().to_string(), "good": false,
                    "diagnostics": mistakes.to_json() });
                let _ = writeln!(std::io::stdout(), "{object}");
            }
            return ExitCode::FAILURE;
        }
    };
    let mut reports = run_needs(&loaded.settings, &Host::this());
    if let Some(metrics) = &loaded.settings.metrics {
        let finding = match TcpListener::bind(metrics.listen) {
            Ok(_) => Finding::ok("listen", format!("{} is free", metrics.listen)),
            Err(error) => {
                let command = format!("ss --listening --tcp --processes 'sport = :{}'", metrics.listen.port());
                Finding::missing("listen", format!("could not listen on {}: {error}", metrics.listen), command)
            }
        };
        let detail = format!("http://{}/metrics", metrics.listen);
        reports.push(Report { subject: "metrics".to_owned(), detail, findings: vec![finding] });
    }
    let text = match args.format {
        Format::Text => for_people(&args.config, &reports),
        Format::Json => format!("{}\n", for_programs(&args.config, &reports)),
    };
    // Whoever does not read the report still has the exit code.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(code(&reports, args.strict))
}

fn count(reports: &[Report], level: Level) -> usize {
    reports.iter().flat_map(|report| &report.findings).filter(|finding| finding.level == level).count()
}

fn code(reports: &[Report], strict: bool) -> u8 {
    match (count(reports, Level::Missing), count(reports, Level::Warning)) {
        (0, 0) => 0,
        (0, _) => {
            if strict {
                3
            } else {
                0
            }
        }
        _ => 1,
    }
}

/// One line for each check, and the command below what it mends.
fn for_people(file: &Path, reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let _ = writeln!(text, "{}: {}", report.subject, report.detail);
        report.findings.iter().for_each(|finding| text.push_str(&lines(finding)));
    }
    let (missing, warnings) = (count(reports, Level::Missing), count(reports, Level::Warning));
    let plural = if warnings == 1 { "" } else { "s" };
    let _ = match (missing, warnings) {
        (0, 0) => writeln!(text, "{}: all there", file.display()),
        _ => writeln!(text, "{}: {missing} missing, {warnings} warning{plural}", file.display()),
    };
    text
}

fn lines(finding: &Finding) -> String {
    let mut text = format!("  {:<8} {:<12} {}\n", finding.level.label(), finding.check, finding.text);
    if let Some(command) = &finding.command {
        let _ = writeln!(text, "           $ {command}");
    }
    text
}

/// What is not as it should be, for the log of a run whose port could not be opened; empty when all is well.
pub(super) fn advice(report: &Report) -> String {
    let wrong = report.findings.iter().filter(|finding| finding.level != Level::Ok);
    wrong.map(lines).collect()
}

fn for_programs(file: &Path, reports: &[Report]) -> serde_json::Value {
    let checks: Vec<_> = reports
        .iter()
        .flat_map(|report| report.findings.iter().map(move |finding| (report, finding)))
        .map(|(report, finding)| {
            json!({ "subject": report.subject, "check": finding.check, "status": finding.level.label(),
                "text": finding.text, "command": finding.command })
        })
        .collect();
    let (missing, warnings) = (count(reports, Level::Missing), count(reports, Level::Warning));
    json!({ "file": file.display().to_string(), "good": missing == 0, "missing": missing, "warnings": warnings,
        "checks": checks })
}

#[cfg(test)]
mod tests;
