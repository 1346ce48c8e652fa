//! Read numbers from a Parquet file, and say the column and row of what is not one.

use std::path::Path;

use polars::prelude::{DataFrame, DataType};

use super::{Dataset, check_range, fault, table};
use crate::error::{Error, Result};
use crate::io::read_frame;

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
    let frame = read_frame(path)?;
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
