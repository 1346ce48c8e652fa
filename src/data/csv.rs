//! Read numbers from a CSV file, plain or gzipped, and say the line and column of what is not one.

use std::path::Path;

use ::csv::{ByteRecord, ReaderBuilder, Trim};

use super::source::{Source, refused};
use super::{Dataset, check_range, fault, table};
use crate::{Error, Result};

/// Which column: by its place, from 0, or by its name in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// The place of the column, from 0.
    Index(usize),
    /// The name of the column in the header line.
    Name(String),
}

/// How to read a CSV file. The default: no header, no labels, any finite number.
#[derive(Debug, Clone, Default)]
pub struct CsvOptions {
    /// The column that holds an integer label instead of a coordinate.
    pub label_column: Option<Column>,
    /// Whether the first line holds the names of the columns.
    pub has_header: bool,
    /// The interval in which every value must lie; becomes [`Dataset::range`].
    pub range: Option<(f64, f64)>,
}

/// Reads a comma-separated file of numbers: one example a line, `Double`, shape `[d]`.
///
/// Spaces around a number and empty lines are allowed. Whether the file is gzipped is told from its first bytes.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use jarzynski::data::{Column, CsvOptions, read_csv};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("points.csv");
/// std::fs::write(&path, "x,y,class\n0.5,1,0\n-2,0.25,1\n")?;
/// let label_column = Some(Column::Name("class".into()));
/// let points = read_csv(&path, &CsvOptions { label_column, has_header: true, range: None })?;
/// assert_eq!(points.x.size(), [2, 2]);
/// assert_eq!(points.labels, Some(vec![0, 1]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] with line and column (from 1) if it has no row, a line of
/// another width, something that is not a finite number or out of range, a label that is not an integer, or no column
/// for the labels; [`Error::Param`] if `range` is not an interval.
pub fn read_csv(path: impl AsRef<Path>, options: &CsvOptions) -> Result<Dataset> {
    parse(Source::open(path.as_ref())?, options)
}

pub(super) fn parse(source: Source, options: &CsvOptions) -> Result<Dataset> {
    if let Some(range) = options.range {
        check_range("range", range)?;
    }
    let (path, reader) = source.into_parts();
    let wrong = |place: String, expected: String| Error::data(&path, place, expected);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(reader);
    let mut record = ByteRecord::new();
    let mut next = |record: &mut ByteRecord| -> Result<Option<u64>> {
        let more = reader.read_byte_record(record).map_err(|e| unreadable(&path, &e, record))?;
        Ok(more.then(|| record.position().map_or(0, |p| p.line())))
    };

    let first =
        next(&mut record)?.ok_or_else(|| wrong("line 1".into(), "a row of numbers, the file is empty".into()))?;
    let width = record.len();
    let label = match &options.label_column {
        None => None,
        Some(Column::Index(i)) if *i < width => Some(*i),
        Some(Column::Index(i)) => {
            return Err(wrong(format!("line {first}"), format!("a label in column {}, found {width} columns", i + 1)));
        }
        Some(Column::Name(name)) => {
            let found = record.iter().position(|field| options.has_header && field == name.as_bytes());
            let missing =
                || wrong(format!("line {first}"), format!("a header with a column \"{name}\" for the labels"));
            Some(found.ok_or_else(missing)?)
        }
    };
    let d = width - usize::from(label.is_some());
    if d == 0 {
        return Err(wrong(format!("line {first}"), "a column besides that of the labels".into()));
    }

    let mut line = Some(first);
    if options.has_header {
        line = next(&mut record)?;
        if line.is_none() {
            return Err(wrong(
                format!("line {}", first + 1),
                "a row of numbers below the header, the file ends".into(),
            ));
        }
    }
    let (mut values, mut labels) = (Vec::new(), label.map(|_| Vec::new()));
    while let Some(at) = line {
        if record.len() != width {
            return Err(wrong(format!("line {at}"), format!("{width} columns, found {}", record.len())));
        }
        for (column, field) in record.iter().enumerate() {
            let text = std::str::from_utf8(field).unwrap_or("bytes that are not UTF-8");
            let here = |expected: String| wrong(format!("line {at}, column {}", column + 1), expected);
            if let Some(labels) = labels.as_mut().filter(|_| label == Some(column)) {
                labels.push(text.parse().map_err(|_| here(format!("an integer label, found {}", short(text))))?);
                continue;
            }
            let value: f64 = text.parse().map_err(|_| here(format!("a number, found {}", short(text))))?;
            if let Some(expected) = fault(value, options.range) {
                return Err(here(expected));
            }
            values.push(value);
        }
        line = next(&mut record)?;
    }
    table(path.display().to_string(), &values, d, labels, options.range)
}

/// The start of a field, quoted: a broken file's field may be megabytes long.
fn short(field: &str) -> String {
    match field.char_indices().nth(24) {
        None => format!("{field:?}"),
        Some((end, _)) => format!("{:?}…", &field[..end]),
    }
}

/// The csv reader passes on only what reading the stream gave: widths and UTF-8 are not its business here.
fn unreadable(path: &Path, e: &::csv::Error, last: &ByteRecord) -> Error {
    let place = format!("line {} or after", last.position().map_or(1, |p| p.line()));
    match e.kind() {
        ::csv::ErrorKind::Io(io) => refused(path, place, std::io::Error::new(io.kind(), io.to_string())),
        _ => Error::data(path, place, format!("comma-separated values ({e})")),
    }
}
