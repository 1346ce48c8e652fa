//! Read numbers from a CSV file, plain or gzipped, and say the line and column of what is not one.

use std::io::{BufRead, Read};
use std::path::Path;

use super::source::{Source, refused};
use super::{Dataset, check_range, fault, table};
use crate::error::{Error, Result};

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
/// Spaces around a number and empty lines are allowed. Whether the file is gzipped is told from its first bytes; one that
/// expands more than a hundredfold, and to more than 16 MiB, is refused.
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
    let mut lines = Lines { source, number: 0, read: 0, text: Vec::new() };
    let wrong = |lines: &Lines, at: u64, expected: String| lines.error(format!("line {at}"), expected);
    if !lines.advance()? {
        return Err(wrong(&lines, 1, "a row of numbers, the file is empty".into()));
    }
    let first = lines.number;
    let width = lines.fields().count();
    let label = match &options.label_column {
        None => None,
        Some(Column::Index(i)) if *i < width => Some(*i),
        Some(Column::Index(i)) => {
            return Err(wrong(&lines, first, format!("a label in column {}, found {width} columns", i + 1)));
        }
        Some(Column::Name(name)) => {
            let found = lines.fields().position(|field| options.has_header && field == name.as_bytes());
            let expected = || wrong(&lines, first, format!("a header with a column \"{name}\" for the labels"));
            Some(found.ok_or_else(expected)?)
        }
    };
    let d = width - usize::from(label.is_some());
    if d == 0 {
        return Err(wrong(&lines, first, "a column besides that of the labels".into()));
    }
    if options.has_header && !lines.advance()? {
        return Err(wrong(&lines, first + 1, "a row of numbers below the header, the file ends".into()));
    }

    let (mut values, mut labels) = (Vec::new(), label.map(|_| Vec::new()));
    loop {
        let found = lines.fields().count();
        if found != width {
            return Err(wrong(&lines, lines.number, format!("{width} columns, found {found}")));
        }
        for (column, field) in lines.fields().enumerate() {
            let text = std::str::from_utf8(field).unwrap_or("bytes that are not UTF-8");
            let here = |expected| lines.error(format!("line {}, column {}", lines.number, column + 1), expected);
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
        if !lines.advance()? {
            return table(lines.source.path.display().to_string(), &values, d, labels, options.range);
        }
    }
}

/// The lines of a file that are not blank, with their numbers from 1: a CSV library counts records, not lines.
struct Lines {
    source: Source,
    number: u64,
    /// Bytes so far.
    read: u64,
    text: Vec<u8>,
}

impl Lines {
    /// Goes on to the next line that is not blank; false at the end of the file.
    fn advance(&mut self) -> Result<bool> {
        loop {
            self.number += 1;
            self.text.clear();
            let read = self.source.reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut self.text);
            let read = read.map_err(|e| refused(&self.source.path, format!("line {}", self.number), e))?;
            if self.text.len() as u64 > LONGEST {
                return Err(self.error(format!("line {}", self.number), format!("a line of at most {LONGEST} bytes")));
            }
            self.read += read as u64;
            if self.read > self.source.most_text {
                let most = self.source.most_text;
                let expected =
                    format!("at most {most} bytes of text from so small a gzipped file; unzip it if all is well");
                return Err(self.error(format!("line {}", self.number), expected));
            }
            if self.number == 1 && self.text.starts_with(BYTE_ORDER_MARK) {
                self.text.drain(..BYTE_ORDER_MARK.len());
            }
            if read == 0 || !self.text.trim_ascii().is_empty() {
                return Ok(read > 0);
            }
        }
    }

    /// The fields of the line without the spaces and quotes around them; a comma between quotes divides nothing.
    fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let mut quoted = false;
        let fields = self.text.split(move |&byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        fields.map(|field| {
            let field = field.trim_ascii();
            field.strip_prefix(b"\"").and_then(|f| f.strip_suffix(b"\"")).unwrap_or(field).trim_ascii()
        })
    }

    fn error(&self, place: String, expected: String) -> Error {
        Error::data(&self.source.path, place, expected)
    }
}

/// Bytes of a line: a small gzipped file can unfold into one that fills the memory.
const LONGEST: u64 = 1 << 24;

/// What some spreadsheets put before the first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The start of a field, quoted: a broken file's field may be megabytes long.
fn short(field: &str) -> String {
    match field.char_indices().nth(24) {
        None => format!("{field:?}"),
        Some((end, _)) => format!("{:?}…", &field[..end]),
    }
}
