//! Read a Parquet file without trusting what it says of itself.

use super::pages;
use crate::error::{Error, Result, guard};
use polars::prelude::{DataFrame, ParquetReader, SerReader};
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// The whole table, after a look at what polars would take on trust.
pub(crate) fn read_frame(path: &Path) -> Result<DataFrame> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    let wrong = |byte: u64, expected: String| Err(Error::data(path, format!("byte {byte}"), expected));
    let length = bytes.len() as u64;
    let Some((content, [f0, f1, f2, f3, magic @ ..])) = bytes.split_last_chunk::<8>().filter(|_| length >= 12) else {
        return wrong(length, "a Parquet file of 12 bytes or more, the file ends".into());
    };
    if !content.starts_with(b"PAR1") {
        return wrong(0, "the magic PAR1 of a Parquet file".into());
    }
    if magic != b"PAR1" {
        return wrong(length - 4, "the closing magic PAR1, the file is truncated".into());
    }
    let footer = u64::from(u32::from_le_bytes([*f0, *f1, *f2, *f3]));
    if footer > length - 12 {
        return wrong(length - 8, format!("a footer of at most {} bytes, found {footer}", length - 12));
    }
    let footer_from = length - 8 - footer;
    if !pages::footer_is_whole(&bytes[footer_from as usize..length as usize - 8]) {
        let place = format!("byte {footer_from} to byte {}", length - 8);
        return Err(Error::data(path, place, "a readable footer (a field or a list goes beyond its end)"));
    }
    // polars reports most damage as an error and some as a panic, and aborts on some page headers
    let mut reader = ParquetReader::new(Cursor::new(bytes.as_slice()));
    let unreadable = |from: u64, to: u64, what: &str, e: Error| {
        Error::data(path, format!("byte {from} to byte {to}"), format!("{what} ({})", brief(&e)))
    };
    let fault = guard(|| Ok(pages::check(&bytes, reader.get_metadata()?)))
        .map_err(|e| unreadable(footer_from, length - 8, "a readable footer", e))?;
    if let Err((byte, expected)) = fault {
        return wrong(byte, expected);
    }
    let frame = guard(|| Ok(reader.finish()?)).map_err(|e| unreadable(4, length - 8, "readable columns", e))?;
    // polars takes the number of rows from the footer and a column's length from its pages
    match frame.columns().iter().find(|c| c.len() != frame.height()) {
        Some(c) => {
            let expected = format!("{} rows, found {}", frame.height(), c.len());
            Err(Error::data(path, format!("column \"{}\"", c.name()), expected))
        }
        None => Ok(frame),
    }
}

/// One line of what polars says, without the prefix of this crate's error.
fn brief(e: &Error) -> String {
    let text = e.to_string();
    let text = text.trim_start_matches("libtorch: ").trim_start_matches("frame: ");
    text.lines().next().unwrap_or_default().to_string()
}
