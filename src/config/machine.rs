//! What a configuration may ask of the machine it is checked on.

use std::fs;

/// The machine's limits; `None` where they are not known, and then nothing is held against them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that are online.
    pub cpus: Option<Vec<u16>>,
    /// Memory in octets.
    pub memory: Option<u64>,
}

impl Machine {
    /// The one this program runs on.
    #[must_use]
    pub fn this() -> Self {
        Machine {
            cpus: fs::read_to_string("/sys/devices/system/cpu/online").ok().and_then(|text| cpu_list(&text)),
            memory: fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory_total(&text)),
        }
    }
}

/// The kernel's list format: numbers and ranges between commas.
fn cpu_list(text: &str) -> Option<Vec<u16>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?);
    }
    Some(cpus)
}

fn memory_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_formats_are_read() {
        assert_eq!(cpu_list("0-2,5,7-8\n"), Some(vec![0, 1, 2, 5, 7, 8]));
        assert_eq!(cpu_list("x"), None);
        assert_eq!(memory_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(memory_total("MemFree: 1 kB\n"), None);
    }
}
