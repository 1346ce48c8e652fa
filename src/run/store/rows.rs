//! Append the rows of a checkpointed run to a file, and detect rows that differ when they are read back.

use crate::error::{Error, Result};
use crate::io::{disk, write_atomic};
use crate::run::Recorder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The file in a run's folder.
const FILE: &str = "stats.csv";

/// What a checkpoint knows about the rows that it counts.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seal {
    columns: usize,
    /// Of the header and the rows, as they stand in the file.
    sha256: String,
}

/// The file of rows, one line each.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// Rows on disk.
    rows: usize,
    /// Their columns; none where the file is to be written anew.
    columns: Option<usize>,
    /// Of all that was written, carried along: a checkpoint need not read the file.
    hash: Sha256,
    /// Whether all that was written is on the disk.
    synced: bool,
}

impl Log {
    pub fn new(dir: &Path) -> Self {
        Log { path: dir.join(FILE), rows: 0, columns: Some(0), hash: Sha256::new(), synced: true }
    }

    /// What tells these rows from others.
    pub fn seal(&self) -> Seal {
        Seal { columns: self.columns.unwrap_or(0), sha256: hex(self.hash.clone()) }
    }

    /// Appends the rows that are not on disk yet.
    pub fn append(&mut self, recorder: &Recorder) -> Result<()> {
        if self.columns != Some(recorder.names().len()) {
            return self.rewrite(recorder);
        }
        if self.rows == recorder.len() {
            return Ok(());
        }
        let text: String = (self.rows..recorder.len()).map(|r| recorder.line(r)).collect();
        self.synced = false;
        if let Err(e) = disk::append(&self.path, &text) {
            // part of it may be there: the next attempt writes the whole log anew
            self.columns = None;
            return Err(Error::io(&self.path, e));
        }
        self.hash.update(&text);
        self.rows = recorder.len();
        Ok(())
    }

    /// Waits until all that was written is on the disk: a checkpoint must not count rows that a loss of power takes.
    pub fn sync(&mut self) -> Result<()> {
        if self.synced {
            return Ok(());
        }
        if let Err(e) = disk::sync_path(&self.path) {
            // what the disk refused is not written again by asking again
            self.columns = None;
            return Err(Error::io(&self.path, e));
        }
        self.synced = true;
        Ok(())
    }

    /// The whole log anew: where a column is new, and where a run is continued.
    fn rewrite(&mut self, recorder: &Recorder) -> Result<()> {
        let mut hash = Sha256::new();
        write_atomic(&self.path, |out| {
            lines(recorder).try_for_each(|line| {
                hash.update(&line);
                out.write_all(line.as_bytes()).map_err(|e| Error::io(&self.path, e))
            })
        })?;
        (self.rows, self.columns, self.hash) = (recorder.len(), Some(recorder.names().len()), hash);
        self.synced = true;
        Ok(())
    }

    /// Goes on after these rows; the rest of the file, which may have been cut while it was written, is dropped.
    pub fn take_up(&mut self, recorder: &Recorder) -> Result<()> {
        self.rewrite(recorder)
    }
}

/// The first `rows` rows of the run in `dir`.
///
/// # Errors
/// Fewer rows than that, or others than those that `seal` was made of.
pub(crate) fn sealed(dir: &Path, rows: usize, seal: &Seal) -> Result<Recorder> {
    if rows == 0 {
        return Ok(Recorder::default());
    }
    let path = dir.join(FILE);
    let mut recorder = read(&path, rows)?;
    if recorder.len() < rows {
        return Err(Error::data(&path, format!("row {}", recorder.len()), format!("{rows} rows")));
    }
    // a column that came after the checkpoint was put into the rows before it too
    recorder.narrow(seal.columns);
    let mut hash = Sha256::new();
    lines(&recorder).for_each(|line| hash.update(&line));
    let found = hex(hash);
    if found != seal.sha256 {
        let expected = format!(
            "the rows that the checkpoint was written with, of SHA-256 {}, found {found}: the file was changed or \
             damaged. Put a copy of it back, or begin the run in another folder",
            seal.sha256
        );
        return Err(Error::data(&path, format!("its first {rows} rows"), expected));
    }
    Ok(recorder)
}

/// All rows of the run in `dir`.
pub(crate) fn read_all(dir: &Path) -> Result<Recorder> {
    read(&dir.join(FILE), usize::MAX)
}

/// At most `rows` rows of a log; a last line without its end was being written when the run was killed.
fn read(path: &Path, rows: usize) -> Result<Recorder> {
    let mut bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let ends = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n');
    // what follows is not of interest, and whatever it is no reason to refuse
    if let Some(end) = ends.map(|(at, _)| at).nth(rows) {
        bytes.truncate(end + 1);
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let byte = e.utf8_error().valid_up_to();
        Error::data(path, format!("byte {byte}"), "text in UTF-8")
    })?;
    Recorder::parse(&text).map_err(|(line, expected)| Error::data(path, format!("line {line}"), expected))
}

/// The header and the rows, as they stand in the file.
fn lines(recorder: &Recorder) -> impl Iterator<Item = String> {
    std::iter::once(recorder.header()).chain((0..recorder.len()).map(|r| recorder.line(r)))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
