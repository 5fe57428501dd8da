//! Files that a command reads and writes: none may be written that is read, and none twice.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Symbolic links that are followed to a file that does not exist yet, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// What makes two names one file.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// Device and inode of a file there is.
    Inode(u64, u64),
    /// Device and inode of the folder, and the name in it, of a file that would be made.
    Entry(u64, u64, PathBuf),
}

/// The file that opening `path` for writing would empty or make. `None` for what is no plain file, such as a terminal, a
/// pipe or `/dev/null`, and for what cannot be opened anyway.
fn identity(path: &Path) -> Option<Identity> {
    if let Ok(found) = fs::metadata(path) {
        return found.is_file().then(|| Identity::Inode(found.dev(), found.ino()));
    }
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        match fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => {
                let found = fs::metadata(&folder).ok()?;
                return Some(Identity::Entry(found.dev(), found.ino(), path.file_name()?.into()));
            }
        }
    }
    None
}

/// The files of one command line.
#[derive(Debug, Default)]
pub(super) struct Files {
    read: Vec<(String, Identity)>,
    written: Vec<(String, Identity)>,
}

impl Files {
    /// Notes a file that is read; `what` names it to a person.
    pub(super) fn reads(&mut self, what: impl Into<String>, path: &Path) {
        self.read.extend(identity(path).map(|identity| (what.into(), identity)));
    }

    /// Notes a file that is to be written, all that are read having been noted; `-` is standard output.
    ///
    /// # Errors
    /// When writing it would destroy what is read, or what another option writes. Nothing was touched.
    pub(super) fn writes(&mut self, what: impl Into<String>, path: &Path) -> Result<(), String> {
        let Some(identity) = identity(path).filter(|_| path != Path::new("-")) else { return Ok(()) };
        let what = what.into();
        let same =
            |list: &[(String, Identity)]| list.iter().find(|(_, other)| *other == identity).map(|(n, _)| n.clone());
        if let Some(other) = same(&self.read) {
            return Err(format!("{what}: {} would be overwritten, and {other} is read from it", path.display()));
        }
        if let Some(other) = same(&self.written) {
            return Err(format!("{what}: {} is written by {other} already", path.display()));
        }
        self.written.push((what, identity));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn one_file_is_one_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "x").unwrap();
        fs::hard_link(at("a"), at("hard")).unwrap();
        symlink("a", at("soft")).unwrap();
        fs::create_dir(at("d")).unwrap();
        symlink("..", at("d/up")).unwrap();
        // To what does not exist yet.
        symlink("new", at("dangling")).unwrap();
        symlink("../dangling", at("d/twice")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for same in [
            ["a", "./a", "hard", "soft", "d/../a", "d/up/a"],
            ["new", "./new", "dangling", "d/twice", "d/../new", "d/up/new"],
        ] {
            for one in same {
                for other in same {
                    assert_eq!(identity(&at(one)), identity(&at(other)), "{one} {other}");
                    let mut files = Files::default();
                    files.writes("--one", &at(one)).unwrap();
                    let wrong = files.writes("--other", &at(other)).unwrap_err();
                    assert!(wrong.ends_with("is written by --one already"), "{wrong}");
                }
            }
        }
        assert_ne!(identity(&at("a")), identity(&at("new")));
        assert_ne!(identity(&at("new")), identity(&at("d/new")));
        for none in ["loop", "d", "no/such"] {
            assert_eq!(identity(&at(none)), None, "{none}");
        }
        assert!(!at("new").exists(), "looking makes nothing");
    }

    #[test]
    fn what_is_read_is_not_written_and_a_device_may_be_both() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "x").unwrap();
        let mut files = Files::default();
        files.reads("the configuration", &file);
        let wrong = files.writes("--json", &file).unwrap_err();
        assert!(wrong.contains("would be overwritten, and the configuration is read from it"), "{wrong}");
        for free in ["/dev/null", "/dev/null", "-", "-"] {
            files.reads("a device", Path::new("/dev/null"));
            assert_eq!(files.writes("--json", Path::new(free)), Ok(()));
        }
    }
}
