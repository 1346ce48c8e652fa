//! Read a Parquet file without trusting what it says of itself.

use super::{expand_home, pages};
use crate::error::{Error, Result, guard};
use polars::prelude::{ArrowSchema, DataFrame, FileMetadata, ParallelStrategy, ParquetReader, SerReader};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The whole table, after a look at what polars would take on trust.
pub(crate) fn read_frame(path: &Path) -> Result<DataFrame> {
    let file = ParquetFile::open(path)?;
    let metadata = file.metadata.clone();
    file.finish(metadata, None)
}

/// A file whose footer and page headers are checked, and whose columns are not read yet.
pub(crate) struct ParquetFile {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: Arc<FileMetadata>,
    /// Where the footer starts.
    footer: u64,
}

impl ParquetFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let path = expand_home(path)?;
        let bytes = fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let wrong = |byte: u64, expected: String| Err(Error::data(&path, format!("byte {byte}"), expected));
        let length = bytes.len() as u64;
        let Some((content, [f0, f1, f2, f3, magic @ ..])) = bytes.split_last_chunk::<8>().filter(|_| length >= 12)
        else {
            return wrong(length, "a Parquet file of 12 bytes or more, the file ends".into());
        };
        if !content.starts_with(b"PAR1") {
            return wrong(0, "the magic PAR1 of a Parquet file".into());
        }
        if magic != b"PAR1" {
            return wrong(length - 4, "the closing magic PAR1, the file is truncated".into());
        }
        let size = u64::from(u32::from_le_bytes([*f0, *f1, *f2, *f3]));
        if size > length - 12 {
            return wrong(length - 8, format!("a footer of at most {} bytes, found {size}", length - 12));
        }
        let footer = length - 8 - size;
        if !pages::footer_is_whole(&bytes[footer as usize..length as usize - 8]) {
            let place = format!("byte {footer} to byte {}", length - 8);
            return Err(Error::data(&path, place, "a readable footer (a field or a list goes beyond its end)"));
        }
        // polars reports most damage as an error and some as a panic, and aborts on some page headers
        let mut reader = ParquetReader::new(Cursor::new(bytes.as_slice()));
        let (metadata, fault) = guard(|| {
            let metadata = reader.get_metadata()?.clone();
            let fault = pages::check(&bytes, &metadata);
            Ok((metadata, fault))
        })
        .map_err(|e| unreadable(&path, footer, length - 8, "a readable footer", &e))?;
        if let Err((byte, expected)) = fault {
            return wrong(byte, expected);
        }
        Ok(ParquetFile { path, bytes, metadata, footer })
    }

    /// The value of a key in the footer.
    pub(crate) fn note(&self, key: &str) -> Option<String> {
        let pairs = self.metadata.key_value_metadata.as_deref()?;
        Some(pairs.iter().find(|p| p.key == key)?.value.as_ref()?.to_string())
    }

    /// Columns and types as the program that wrote the file saw them (`ARROW:schema` in the footer), and as Parquet
    /// itself has them: a list of fixed size is a list there, and a category its text.
    pub(crate) fn schemas(&self) -> Result<[Arc<ArrowSchema>; 2]> {
        let schema = |metadata: Arc<FileMetadata>| {
            let mut reader = ParquetReader::new(Cursor::new(self.bytes.as_slice()));
            reader.set_metadata(metadata);
            guard(|| Ok(reader.schema()?))
                .map_err(|e| unreadable(&self.path, self.footer, self.end(), "a readable footer", &e))
        };
        Ok([schema(self.metadata.clone())?, schema(self.plain())?])
    }

    /// The columns of these places, with the types of Parquet itself.
    pub(crate) fn columns(self, places: Vec<usize>) -> Result<DataFrame> {
        let plain = self.plain();
        self.finish(plain, Some(places))
    }

    /// The path with its `~` replaced.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn plain(&self) -> Arc<FileMetadata> {
        Arc::new(FileMetadata { key_value_metadata: None, ..(*self.metadata).clone() })
    }

    fn end(&self) -> u64 {
        self.bytes.len() as u64 - 8
    }

    fn finish(self, metadata: Arc<FileMetadata>, places: Option<Vec<usize>>) -> Result<DataFrame> {
        // in this thread, where a panic can be kept from the screen
        let reader = ParquetReader::new(Cursor::new(self.bytes.as_slice()));
        let mut reader = reader.read_parallel(ParallelStrategy::None).with_projection(places);
        reader.set_metadata(metadata);
        let frame = guard(|| Ok(reader.finish()?))
            .map_err(|e| unreadable(&self.path, 4, self.end(), "readable columns", &e))?;
        // polars takes the number of rows from the footer and a column's length from its pages
        match frame.columns().iter().find(|c| c.len() != frame.height()) {
            Some(c) => {
                let expected = format!("{} rows, found {}", frame.height(), c.len());
                Err(Error::data(&self.path, format!("column \"{}\"", c.name()), expected))
            }
            None => Ok(frame),
        }
    }
}

fn unreadable(path: &Path, from: u64, to: u64, what: &str, e: &Error) -> Error {
    Error::data(path, format!("byte {from} to byte {to}"), format!("{what} ({})", brief(e)))
}

/// One line of what polars says, without the prefix of this crate's error.
fn brief(e: &Error) -> String {
    let text = e.to_string();
    let text = text.trim_start_matches("libtorch: ").trim_start_matches("table: ");
    text.lines().next().unwrap_or_default().to_string()
}
