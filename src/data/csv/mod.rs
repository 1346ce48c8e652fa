//! Read tables of numbers from CSV files, plain or gzipped, and say the line and column of what cannot be read.

mod columns;
mod encoding;
mod parse;
mod records;
mod separator;

use std::path::Path;

use super::source::Source;
use super::{Dataset, Missing};
use crate::error::Result;

pub(super) use parse::parse;
pub use separator::Separator;

/// Which column: by its place, from 0, or by its name in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Column {
    /// The place of the column in a line of numbers, from 0.
    Index(usize),
    /// The name of the column in the header line.
    Name(String),
}

impl From<usize> for Column {
    fn from(index: usize) -> Self {
        Column::Index(index)
    }
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Column::Name(name.into())
    }
}

/// Whether the first column holds the names of the rows, as R and pandas write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RowNames {
    /// A first column without a name in the header is left out, and [`Dataset::notes`] says so. Without a header, a first
    /// column that counts 0, 1, 2, … or 1, 2, 3, … over three rows or more is refused: it may be either.
    #[default]
    Sense,
    /// The first column is left out.
    Drop,
    /// The first column is a coordinate, or the labels.
    Keep,
}

/// How to read a CSV file. The default: no header, no labels, any finite number, nothing missing; separator, decimal
/// comma, row names and encoding are sensed.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use]
pub struct CsvOptions {
    /// The column that holds a label instead of a coordinate: integers, or text (then [`Dataset::classes`] has the names).
    pub label_column: Option<Column>,
    /// Whether the first line holds the names of the columns.
    pub has_header: bool,
    /// The interval in which every value must lie; becomes [`Dataset::range`].
    pub range: Option<(f64, f64)>,
    /// What stands between the columns; `None`: told from the first line.
    pub separator: Option<Separator>,
    /// Whether numbers are written as `1,5`; `None`: told from the first such number where semicolons separate the
    /// columns, and otherwise no.
    pub decimal_comma: Option<bool>,
    /// Lines that start with this are skipped, and [`Dataset::notes`] says how many were.
    pub comment: Option<char>,
    /// What to do with missing values.
    pub missing: Missing,
    /// Whether the first column holds row names.
    pub row_names: RowNames,
    /// Columns that are neither coordinates nor labels.
    pub ignore: Vec<Column>,
    /// How many bytes of text a gzipped file may hold; `None`: a hundred times its own size, and at least 16 MiB.
    pub gzip_limit: Option<u64>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            label_column: None,
            has_header: false,
            range: None,
            separator: None,
            decimal_comma: None,
            comment: Some('#'),
            missing: Missing::Refuse,
            row_names: RowNames::Sense,
            ignore: Vec::new(),
            gzip_limit: None,
        }
    }
}

impl CsvOptions {
    /// The first line holds the names of the columns.
    pub fn header(self) -> Self {
        CsvOptions { has_header: true, ..self }
    }

    /// The column of the labels, by place or name.
    pub fn label(self, column: impl Into<Column>) -> Self {
        CsvOptions { label_column: Some(column.into()), ..self }
    }

    /// The interval in which every value must lie.
    pub fn range(self, lo: f64, hi: f64) -> Self {
        CsvOptions { range: Some((lo, hi)), ..self }
    }

    /// What stands between the columns.
    pub fn separator(self, separator: Separator) -> Self {
        CsvOptions { separator: Some(separator), ..self }
    }

    /// Whether numbers are written as `1,5`.
    pub fn decimal_comma(self, yes: bool) -> Self {
        CsvOptions { decimal_comma: Some(yes), ..self }
    }

    /// What starts a line that is skipped; `None`: no line is.
    pub fn comment(self, start: Option<char>) -> Self {
        CsvOptions { comment: start, ..self }
    }

    /// What to do with missing values.
    pub fn missing(self, missing: Missing) -> Self {
        CsvOptions { missing, ..self }
    }

    /// Whether the first column holds row names.
    pub fn row_names(self, row_names: RowNames) -> Self {
        CsvOptions { row_names, ..self }
    }

    /// One more column that is neither coordinate nor label.
    pub fn ignore(mut self, column: impl Into<Column>) -> Self {
        self.ignore.push(column.into());
        self
    }

    /// How many bytes of text a gzipped file may hold.
    pub fn gzip_limit(self, bytes: u64) -> Self {
        CsvOptions { gzip_limit: Some(bytes), ..self }
    }
}

/// Reads a table of numbers: one example a line, `Double`, shape `[d]`. A `~` at the start of the path is the home folder.
///
/// The columns are separated by commas, semicolons, tabs, bars or blanks; fields may stand in quotes, with separators,
/// line breaks and doubled quotes inside. Blanks around a field, blank lines, comments behind `#` and a separator at the
/// end of every line are allowed; lines end with LF, CR LF or CR; text is UTF-8, or UTF-16 with its byte order mark.
/// Whether the file is gzipped is told from its first bytes.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use jarzynski::data::{CsvOptions, read_csv};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("points.csv");
/// std::fs::write(&path, "x;y;class\n0,5;1;b\n-2;0,25;a\n")?;
/// let points = read_csv(&path, &CsvOptions::default().header().label("class"))?;
/// assert_eq!(points.x.size(), [2, 2]);
/// assert_eq!(points.labels, Some(vec![1, 0]));
/// assert_eq!(points.classes, Some(vec!["a".to_string(), "b".to_string()]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the file cannot be read; [`Error::Data`](crate::Error::Data) with line and column
/// (from 1) if it has no row, a line of another width, something that is not a finite number or out of range, a missing
/// value, labels of two kinds, no column for the labels, or more text than a gzipped file of its size may hold;
/// [`Error::Param`](crate::Error::Param) if `range` is not an interval.
pub fn read_csv(path: impl AsRef<Path>, options: &CsvOptions) -> Result<Dataset> {
    parse(Source::open(path.as_ref())?, options)
}
