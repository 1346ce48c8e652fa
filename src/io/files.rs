//! Write files so that they are there completely or not at all, and tables as CSV and Parquet.

use crate::error::{Error, Result};
use crate::io::disk;
use polars::prelude::*;
use std::io::Write;
use std::path::Path;

/// Writes `path` so that it is there completely or not at all, after a crash and after a loss of power: into a temporary file
/// beside it, which is synced and renamed; then the folder is synced.
///
/// # Errors
/// `Io` with the path where the folder is missing or not writable; what stood at `path` before is then untouched.
pub fn write_atomic(path: impl AsRef<Path>, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    replace(path.as_ref(), None, write)
}

/// As [`write_atomic`]; what stood at `path` is renamed to `before`, if that is given.
pub(crate) fn replace(
    path: &Path,
    before: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let failed = |e: std::io::Error| Error::io(path, e);
    let dir = disk::folder(path);
    let mut file = tempfile::Builder::new();
    file.prefix(".partial-");
    #[cfg(unix)]
    file.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let file = file.tempfile_in(&dir).map_err(|e| failed(e.error_in(&dir)))?;
    let mut buffer = std::io::BufWriter::new(file);
    write(&mut buffer)?;
    let (file, partial) = buffer.into_inner().map_err(|e| failed(e.into_error()))?.into_parts();
    #[cfg(test)]
    disk::journal::record(|| {
        disk::journal::Op::Create(partial.to_path_buf(), std::fs::read(&partial).unwrap_or_default())
    });
    disk::sync(&file, &partial).map_err(failed)?;
    drop(file);
    if let Some(before) = before {
        match disk::rename(path, before) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
    }
    disk::rename(&partial, path).map_err(failed)?;
    // it has the other name now
    let _ = partial.keep();
    disk::sync_folder(&dir).map_err(failed)
}

/// Keeps the message of `tempfile` free of the random name it tried.
trait ErrorIn {
    fn error_in(self, dir: &Path) -> std::io::Error;
}

impl ErrorIn for std::io::Error {
    fn error_in(self, dir: &Path) -> std::io::Error {
        let what = if dir.is_dir() { "the folder cannot be written" } else { "the folder does not exist" };
        std::io::Error::new(self.kind(), format!("{what} ({})", self.kind()))
    }
}

/// A DataFrame as CSV: a header, commas, floats with all their digits, NaN as `NaN`, null as nothing.
///
/// # Errors
/// `Io` with the path, or `Table` for a column that CSV cannot hold.
pub fn write_csv(df: &DataFrame, path: impl AsRef<Path>) -> Result<()> {
    write_atomic(path, |out| Ok(CsvWriter::new(out).finish(&mut df.clone())?))
}

/// A DataFrame as Parquet, compressed with zstd.
///
/// # Errors
/// `Io` with the path.
pub fn write_parquet(df: &DataFrame, path: impl AsRef<Path>) -> Result<()> {
    write_atomic(path, |out| Ok(ParquetWriter::new(out).finish(&mut df.clone()).map(|_| ())?))
}

/// As [`write_parquet`], with key and value pairs of text in the file's footer, where pandas, polars, DuckDB and R find them.
///
/// # Errors
/// `Io` with the path.
pub fn write_parquet_with(df: &DataFrame, path: impl AsRef<Path>, metadata: &[(&str, String)]) -> Result<()> {
    let pairs = metadata.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    write_atomic(path, |out| {
        let writer = ParquetWriter::new(out).with_key_value_metadata(Some(KeyValueMetadata::from_static(pairs)));
        Ok(writer.finish(&mut df.clone()).map(|_| ())?)
    })
}

/// The pairs of text in the footer of a Parquet file; results carry their manifest under `jarzynski`.
///
/// # Errors
/// `Io` where there is no file, `Data` where it is no Parquet.
pub fn read_metadata(path: impl AsRef<Path>) -> Result<std::collections::BTreeMap<String, String>> {
    let path = path.as_ref();
    // the whole file is checked first: a damaged footer may promise anything
    crate::io::read_frame(path)?;
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    crate::error::guard(|| {
        let mut reader = ParquetReader::new(file);
        let pairs = reader.get_metadata()?.key_value_metadata().clone().unwrap_or_default();
        Ok(pairs.into_iter().filter_map(|p| Some((p.key.to_string(), p.value?.to_string()))).collect())
    })
}

/// `dir/name.csv` and `dir/name.parquet`.
///
/// # Errors
/// `Param` for a name that is no plain file name, else as [`write_csv`] and [`write_parquet`].
pub fn write_table(df: &DataFrame, dir: impl AsRef<Path>, name: &str) -> Result<()> {
    check_name(name)?;
    write_csv(df, dir.as_ref().join(format!("{name}.csv")))?;
    write_parquet(df, dir.as_ref().join(format!("{name}.parquet")))
}

/// A plain file name: no folders, not empty, not hidden.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    if plain { Ok(()) } else { Err(Error::param("name", name, "a file name without folder and extension")) }
}
