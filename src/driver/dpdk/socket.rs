//! Sockets by name: what a killed process leaves behind must not stop the next one.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Makes room for a socket named `path`: takes away one that nobody listens at.
///
/// # Errors
/// When somebody does, or the name is something else's, in words.
pub(super) fn clear(path: &Path) -> Result<(), String> {
    let name = path.display();
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{name}: {error}")),
        Ok(found) if !found.file_type().is_socket() => return Err(format!("{name} is there and is no socket")),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(format!("another process listens at {name}")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| format!("{name} is left from a process that is gone: {error}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_a_socket_without_a_listener_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.sock");
        clear(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert!(clear(&path).unwrap_err().contains("listens"));
        assert!(path.exists());
        drop(listener);
        clear(&path).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "mine").unwrap();
        assert!(clear(&path).unwrap_err().contains("no socket"));
        assert!(path.exists());
    }
}
