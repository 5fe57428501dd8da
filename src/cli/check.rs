//! `flowgate check`: says everything that is wrong with configurations, and what a run of them would reserve.

use crate::config::{self, Diagnostics, Loaded, Machine, Settings};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How the findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: findings on standard error, one line per good file on standard output.
    #[default]
    Text,
    /// For programs: one JSON object per file on standard output.
    Json,
}

/// What to check and how.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Whether warnings fail the check.
    pub strict: bool,
    /// Whether to write the effective configuration, every default filled in.
    pub print: bool,
    /// How the findings are written.
    pub format: Format,
    /// Configurations.
    pub files: Vec<PathBuf>,
}

/// Memory a run reserves at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// What for, and how many octets.
    pub parts: Vec<(&'static str, u64)>,
}

impl Reserved {
    /// All parts together, in octets.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.parts.iter().fold(0, |sum, (_, octets)| sum.saturating_add(*octets))
    }
}

/// Checks every file. `reserved` tells what a run of given settings would reserve.
///
/// Exits with 0 if all are good, 1 if one is not, 3 if one has warnings and the check is strict.
pub fn run(check: &Check, reserved: &dyn Fn(&Settings) -> Reserved) -> ExitCode {
    let (out, err) = (std::io::stdout(), std::io::stderr());
    let color = err.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match check_all(check, reserved, color, (&mut out.lock(), &mut err.lock())) {
        Ok(code) => ExitCode::from(code),
        // Nobody reads the answer, as in `flowgate check FILE | head -1`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flowgate: cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check_all(
    check: &Check,
    reserved: &dyn Fn(&Settings) -> Reserved,
    color: bool,
    (out, err): (&mut dyn Write, &mut dyn Write),
) -> std::io::Result<u8> {
    let (mut bad, mut doubtful) = (false, false);
    for file in &check.files {
        let result = config::load(file).map(|mut loaded| {
            let reserved = reserved(&loaded.settings);
            loaded.lint_memory(reserved.total(), &Machine::this());
            (loaded, reserved)
        });
        let diagnostics = result.as_ref().map_or_else(|diagnostics| diagnostics, |(loaded, _)| &loaded.diagnostics);
        bad |= diagnostics.errors() > 0;
        doubtful |= diagnostics.warnings() > 0;
        match check.format {
            Format::Json => {
                let line = object(file, diagnostics, result.as_ref().ok(), check.print);
                writeln!(out, "{line}")?;
            }
            Format::Text => {
                write!(err, "{}", diagnostics.render(color))?;
                match &result {
                    Err(diagnostics) => writeln!(err, "{}: {}", file.display(), count(diagnostics))?,
                    Ok((loaded, reserved)) => {
                        let summary = format!("{}: {}", file.display(), summary(loaded, reserved));
                        if check.print {
                            let yaml = serde_yaml::to_string(&loaded.settings).map_err(std::io::Error::other)?;
                            write!(out, "# {summary}\n{yaml}")?;
                        } else {
                            writeln!(out, "{summary}")?;
                        }
                    }
                }
            }
        }
    }
    out.flush()?;
    Ok(match (bad, doubtful && check.strict) {
        (true, _) => 1,
        (false, true) => 3,
        (false, false) => 0,
    })
}

fn some(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn count(diagnostics: &Diagnostics) -> String {
    let errors = some(diagnostics.errors(), "error");
    match diagnostics.warnings() {
        0 => errors,
        warnings => format!("{errors}, {}", some(warnings, "warning")),
    }
}

fn rules(settings: &Settings) -> usize {
    settings.policy.chains.iter().map(|chain| chain.rules.len()).sum()
}

/// One line about a good configuration.
fn summary(loaded: &Loaded, reserved: &Reserved) -> String {
    let settings = &loaded.settings;
    let mut line = format!(
        "good: {}, {} in {}, {}; reserves {}",
        some(settings.ports.len(), "port"),
        some(rules(settings), "rule"),
        some(settings.policy.chains.len(), "chain"),
        some(usize::from(settings.workers.count), "worker"),
        octets(reserved.total()),
    );
    if reserved.parts.len() > 1 {
        let parts: Vec<_> = reserved
            .parts
            .iter()
            .filter(|(_, size)| *size > 0)
            .map(|(what, size)| format!("{what} {}", octets(*size)))
            .collect();
        line.push_str(&format!(" ({})", parts.join(", ")));
    }
    if loaded.diagnostics.warnings() > 0 {
        line.push_str(&format!("; {}", some(loaded.diagnostics.warnings(), "warning")));
    }
    line
}

/// A size in the unit a person would choose.
fn octets(size: u64) -> String {
    match size {
        0..1_048_576 => format!("{} KiB", size.div_ceil(1024)),
        _ => format!("{} MiB", size.div_ceil(1 << 20)),
    }
}

fn object(file: &Path, diagnostics: &Diagnostics, good: Option<&(Loaded, Reserved)>, print: bool) -> serde_json::Value {
    let mut object = json!({
        "file": file.display().to_string(),
        "good": good.is_some(),
        "errors": diagnostics.errors(),
        "warnings": diagnostics.warnings(),
        "diagnostics": diagnostics.to_json(),
    });
    if let Some((loaded, reserved)) = good {
        let settings = &loaded.settings;
        let parts: serde_json::Map<_, _> =
            reserved.parts.iter().map(|(what, size)| ((*what).to_owned(), json!(size))).collect();
        object["ports"] = json!(settings.ports.len());
        object["rules"] = json!(rules(settings));
        object["workers"] = json!(settings.workers.count);
        object["reserved_bytes"] = json!({ "total": reserved.total(), "parts": parts });
        if print {
            object["settings"] = serde_json::to_value(settings).unwrap_or_default();
        }
    }
    object
}

#[cfg(test)]
mod tests;
