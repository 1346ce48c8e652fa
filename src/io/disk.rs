//! Sync, rename and append: what a write must do so that a loss of power leaves the old content or the new one.
//!
//! Tests record the operations and replay each beginning of the list as a loss of power would leave it.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::path::Path;

/// Waits until the content of `file`, which is at `path`, is on the disk.
pub(crate) fn sync(file: &File, _path: &Path) -> Result<()> {
    file.sync_all()?;
    #[cfg(test)]
    journal::record(|| journal::Op::Sync(_path.into()));
    Ok(())
}

/// Waits until the names in `dir` are on the disk.
pub(crate) fn sync_folder(dir: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
        match File::open(dir).and_then(|dir| dir.sync_all()) {
            // file systems that have no such operation, and folders that one may write to and not list
            Err(e) if !matches!(e.kind(), InvalidInput | Unsupported | PermissionDenied) => return Err(e),
            _ => {}
        }
    }
    #[cfg(test)]
    journal::record(|| journal::Op::SyncFolder(dir.into()));
    Ok(())
}

/// Makes `dir` and the folders above it that are missing, so that their names last.
pub(crate) fn make_folder(dir: &Path) -> Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
    std::fs::create_dir_all(dir)?;
    missing.iter().rev().try_for_each(|made| sync_folder(&folder(made)))
}

/// The folder that a path lies in.
pub(crate) fn folder(path: &Path) -> std::path::PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.into(),
        _ => ".".into(),
    }
}

/// Gives a file another name; what had that name is gone. The name lasts once the folder is synced.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to)?;
    #[cfg(test)]
    journal::record(|| journal::Op::Rename(from.into(), to.into()));
    Ok(())
}

/// Writes `text` at the end of a file that is there. It lasts once the file is synced.
pub(crate) fn append(path: &Path, text: &str) -> Result<()> {
    // opened anew each time: a file that was removed would take what is written to it along
    OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())?;
    #[cfg(test)]
    journal::record(|| journal::Op::Append(path.into(), text.into()));
    Ok(())
}

/// Waits until what was appended to `path` is on the disk.
pub(crate) fn sync_path(path: &Path) -> Result<()> {
    sync(&OpenOptions::new().append(true).open(path)?, path)
}

#[cfg(test)]
pub(crate) mod journal {
    use std::cell::RefCell;
    use std::path::PathBuf;

    /// One change of a file system, or one wait for the disk.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Op {
        /// A new file with this content.
        Create(PathBuf, Vec<u8>),
        Append(PathBuf, Vec<u8>),
        Sync(PathBuf),
        Rename(PathBuf, PathBuf),
        SyncFolder(PathBuf),
        /// Not an operation: a mark that a test sets.
        Mark(usize),
    }

    thread_local! {
        static LOG: RefCell<Option<Vec<Op>>> = const { RefCell::new(None) };
    }

    /// Adds an operation of this thread, where they are recorded.
    pub fn record(op: impl FnOnce() -> Op) {
        LOG.with_borrow_mut(|log| {
            if let Some(log) = log {
                log.push(op());
            }
        });
    }

    /// Runs `f` and returns the operations of this thread meanwhile.
    pub fn recorded<T>(f: impl FnOnce() -> T) -> (T, Vec<Op>) {
        LOG.replace(Some(Vec::new()));
        let value = f();
        (value, LOG.take().unwrap_or_default())
    }
}
