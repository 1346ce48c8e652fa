//! Decide what each column of a table is: a coordinate, the label, or nothing.

use super::records::Records;
use super::{Column, CsvOptions, RowNames};
use crate::error::{Error, Result};

/// What a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Coordinate,
    Label,
    /// Left out, whatever it holds.
    Ignored,
    /// The empty field behind a separator that ends every line.
    Trailing,
}

/// The columns of a table, from its header and its first line of numbers.
pub(super) struct Columns {
    pub(super) roles: Vec<Role>,
    /// The names, one per column.
    pub(super) names: Option<Vec<String>>,
    /// Row names stand before the columns that the header names, as R's `write.table` has it.
    pub(super) unnamed_rows: bool,
    /// Whether a first column that counts may be row names.
    pub(super) watch_first: bool,
    pub(super) notes: Vec<String>,
}

impl Columns {
    /// Reads the header, if there is one, and stands on the first line of numbers afterwards.
    pub(super) fn read(records: &mut Records, options: &CsvOptions) -> Result<Self> {
        if !records.advance()? {
            return Err(records.error("line 1".into(), "a row of numbers, the file is empty".into()));
        }
        let first = records.line;
        let mut names = None;
        if options.has_header {
            let numbers =
                records.fields().all(|f| std::str::from_utf8(f.bytes).is_ok_and(|t| t.parse::<f64>().is_ok()));
            if numbers && records.comments > 0 {
                let expected = "the names of the columns, found numbers below a comment (a header behind the sign of a \
                                comment is one: set `comment` or `has_header`)";
                return Err(records.error(format!("line {first}"), expected.into()));
            }
            names = Some(records.fields().map(|f| String::from_utf8_lossy(f.bytes).into_owned()).collect::<Vec<_>>());
            if !records.advance()? {
                let expected = "a row of numbers below the header, the file ends".into();
                return Err(records.error(format!("line {}", records.line), expected));
            }
        }
        let width = records.width();
        let last_empty = width > 1 && records.fields().last().is_some_and(|f| f.bytes.is_empty());
        let mut unnamed_rows = false;
        if let Some(names) = names.as_mut().filter(|names| names.len() + 1 == width) {
            if last_empty {
                names.push(String::new());
            } else if records.fields().next().is_some_and(|f| f.quoted) {
                unnamed_rows = true;
                names.insert(0, String::new());
            }
        }
        if let Some(names) = names.as_ref().filter(|names| names.len() != width) {
            return Err(wrong_width(records, names.len()));
        }
        let mut columns = Columns {
            roles: vec![Role::Coordinate; width],
            names,
            unnamed_rows,
            watch_first: false,
            notes: Vec::new(),
        };
        columns.assign(records, options, first, last_empty)?;
        Ok(columns)
    }

    fn assign(&mut self, records: &Records, options: &CsvOptions, first: u64, last_empty: bool) -> Result<()> {
        let width = self.roles.len();
        for column in &options.ignore {
            let at = self.find(records, column, first, "to leave out")?;
            self.roles[at] = Role::Ignored;
        }
        if let Some(column) = &options.label_column {
            let at = self.find(records, column, first, "for the labels")?;
            if self.roles[at] == Role::Ignored {
                let expected = format!("the labels in a column that is not ignored, found column {}", at + 1);
                return Err(records.error(format!("line {first}"), expected));
            }
            self.roles[at] = Role::Label;
        }
        let name = |at: usize| self.names.as_ref().map(|names| names[at].as_str());
        let nameless_first = name(0).is_some_and(|n| n.is_empty() || n == "Unnamed: 0");
        let drop = match options.row_names {
            RowNames::Drop => true,
            RowNames::Sense => nameless_first && width > 1,
            RowNames::Keep => false,
        };
        if options.row_names == RowNames::Drop && self.roles[0] == Role::Label {
            let expected = "labels in another column than the row names, found column 1 for both";
            return Err(records.error(format!("line {first}"), expected.into()));
        }
        if drop && self.roles[0] == Role::Coordinate {
            self.roles[0] = Role::Ignored;
            self.notes.push("left out column 1, which holds row names".into());
        }
        self.watch_first = self.roles[0] == Role::Coordinate && options.row_names == RowNames::Sense;
        let nameless_last = name(width - 1).is_none_or(str::is_empty);
        if last_empty && nameless_last && self.roles[width - 1] == Role::Coordinate {
            self.roles[width - 1] = Role::Trailing;
            self.notes.push(format!("left out column {width}, which is empty: its lines end with a separator"));
        }
        if !self.roles.contains(&Role::Coordinate) {
            let besides = if options.label_column.is_some() { " besides that of the labels" } else { " with numbers" };
            return Err(records.error(format!("line {first}"), format!("a column{besides}")));
        }
        Ok(())
    }

    fn find(&self, records: &Records, column: &Column, first: u64, purpose: &str) -> Result<usize> {
        let wrong = |expected: String| Err(records.error(format!("line {first}"), expected));
        let width = self.roles.len();
        match column {
            Column::Index(i) if *i < width => Ok(*i),
            Column::Index(i) => wrong(format!("a column {} {purpose}, found {width} columns", i + 1)),
            Column::Name(name) => {
                let places = self.names.iter().flatten().enumerate().filter(|(_, n)| *n == name);
                let places: Vec<usize> = places.map(|(i, _)| i).collect();
                match (places.as_slice(), &self.names) {
                    ([one], _) => Ok(*one),
                    ([], None) => {
                        wrong(format!("a header with a column \"{name}\" {purpose}, `has_header` is not set"))
                    }
                    ([], Some(_)) => wrong(format!("a header with a column \"{name}\" {purpose}")),
                    _ => wrong(format!("one column \"{name}\" {purpose}, found {}", places.len())),
                }
            }
        }
    }
}

/// An error about the number of columns of the current record.
pub(super) fn wrong_width(records: &Records, width: usize) -> Error {
    let mut expected = format!("{width} columns, found {}", records.width());
    if records.sensed && records.separator != super::Separator::Comma {
        expected += &format!(
            " (separated by {}, as the first line seems to be: option `separator`)",
            records.separator.words()
        );
    }
    records.error(format!("line {}", records.line), expected)
}

/// Whether a field is the number of its row, counted from `from`.
pub(super) fn counts(bytes: &[u8], row: u64, from: u64) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<u64>().ok() == Some(row + from))
}
