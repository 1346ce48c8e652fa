//! Read numbers from a Parquet file, and say the column and row of what is not one.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use polars::prelude::{DataFrame, DataType, ParquetReader, SerReader};

use super::{Dataset, check_range, fault, pages, table};
use crate::error::guard;
use crate::{Error, Result};

/// Reads a Parquet file whose columns are numbers or booleans: one example a row, `Double`, shape `[d]`.
///
/// `label_column` names a column of integers that become the labels; `range` is the interval in which every other
/// value must lie, and becomes [`Dataset::range`].
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] with the column and the row (from 1) if a value is null,
/// not finite or out of range, a column is not numeric, the labels are not integers or not there; with a byte offset if
/// it is empty, truncated or not a Parquet file; [`Error::Param`] if `range` is not an interval.
pub fn read_parquet(path: impl AsRef<Path>, label_column: Option<&str>, range: Option<(f64, f64)>) -> Result<Dataset> {
    let path = path.as_ref();
    if let Some(range) = range {
        check_range("range", range)?;
    }
    let frame = frame(path)?;
    let (n, width) = frame.shape();
    if n == 0 {
        return Err(Error::data(path, "row 1", "a row of numbers, the table is empty"));
    }
    let labels = label_column.map(|name| labels(path, &frame, name)).transpose()?;
    let d = width - usize::from(labels.is_some());
    if d == 0 {
        return Err(Error::data(path, "row 1", "a column besides that of the labels"));
    }
    let mut values = vec![0.0; n * d];
    let coordinates = frame.columns().iter().filter(|c| Some(c.name().as_str()) != label_column);
    for (j, column) in coordinates.enumerate() {
        let place = format!("column \"{}\"", column.name());
        if !column.dtype().is_primitive_numeric() && column.dtype() != &DataType::Boolean {
            return Err(Error::data(path, place, format!("a numeric column, found {}", column.dtype())));
        }
        let numbers = column.cast(&DataType::Float64)?;
        for (i, value) in numbers.f64()?.iter().enumerate() {
            let found = value.map_or_else(|| Some("a number, found null".into()), |v| fault(v, range));
            if let Some(expected) = found {
                return Err(Error::data(path, format!("{place}, row {}", i + 1), expected));
            }
            values[i * d + j] = value.unwrap_or_default();
        }
    }
    table(path.display().to_string(), &values, d, labels, range)
}

fn labels(path: &Path, frame: &DataFrame, name: &str) -> Result<Vec<i64>> {
    let place = format!("column \"{name}\"");
    let Ok(column) = frame.column(name) else {
        return Err(Error::data(path, place, format!("this column for the labels, found {:?}", names(frame))));
    };
    if !column.dtype().is_integer() {
        return Err(Error::data(path, place, format!("integer labels, found {}", column.dtype())));
    }
    let integers = column.cast(&DataType::Int64)?;
    let one = |(i, label): (usize, Option<i64>)| {
        label.ok_or_else(|| Error::data(path, format!("{place}, row {}", i + 1), "an integer label of 64 bits"))
    };
    integers.i64()?.iter().enumerate().map(one).collect()
}

fn names(frame: &DataFrame) -> Vec<&str> {
    frame.columns().iter().map(|c| c.name().as_str()).collect()
}

/// The whole table, after a look at what polars would take on trust.
pub(crate) fn frame(path: &Path) -> Result<DataFrame> {
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
