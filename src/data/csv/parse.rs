//! Turn the fields of a table into numbers and labels.

use super::columns::{Columns, Role, counts, wrong_width};
use super::records::{Field, Records};
use super::{CsvOptions, Separator};
use crate::data::labels::Labels;
use crate::data::missing::{MISSING_HELPS, Rows, is_missing};
use crate::data::source::Source;
use crate::data::{Dataset, check_range, fault, short};
use crate::error::{Error, Result};

/// Rows of numbers from which on a first column that counts is taken for row names.
const COUNTING_ROWS: u64 = 3;

pub(in crate::data) fn parse(source: Source, options: &CsvOptions) -> Result<Dataset> {
    if let Some(range) = options.range {
        check_range("range", range)?;
    }
    let name = source.path.display().to_string();
    let mut records = Records::new(source, options)?;
    let columns = Columns::read(&mut records, options)?;
    let mut marks = Marks::new(options, &records);
    let d = columns.roles.iter().filter(|role| **role == Role::Coordinate).count();
    let mut rows = Rows::new(d, options.missing);
    let mut labels = columns.roles.contains(&Role::Label).then(Labels::default);
    let (first_line, mut count) = (records.line, 0);
    // whether the first column has counted from 0 and from 1 so far
    let mut counting = [columns.watch_first; 2];
    loop {
        if records.width() != columns.roles.len() {
            return Err(wrong_width(&records, columns.roles.len()));
        }
        if let Some(field) = records.fields().next() {
            counting = [0, 1].map(|from| counting[from as usize] && counts(field.bytes, count, from));
            if columns.unnamed_rows && !field.quoted {
                return Err(wrong_width(&records, columns.roles.len() - 1));
            }
        }
        read_row(&records, &columns, options, &mut marks, &mut rows, labels.as_mut())?;
        count += 1;
        if !records.advance()? {
            break;
        }
    }
    let mut notes = columns.notes;
    if count >= COUNTING_ROWS && counting.contains(&true) {
        let from = if counting[0] { "0, 1, 2" } else { "1, 2, 3" };
        match &columns.names {
            None => {
                let expected = format!(
                    "either row names or a coordinate, found a first column that counts {from}, …: say which by option \
                     `row_names`"
                );
                return Err(records.error(format!("line {first_line}, column 1"), expected));
            }
            Some(names) => notes.push(format!(
                "column 1, \"{}\", counts {from}, …: where it is no coordinate, leave it out by option `ignore`",
                names[0]
            )),
        }
    }
    notes.extend(marks.note(&records));
    notes.extend(records.note());
    let nothing = |expected| records.error(format!("line {first_line}"), expected);
    rows.finish(name, labels, options.range, notes, nothing)
}

fn read_row(
    records: &Records,
    columns: &Columns,
    options: &CsvOptions,
    marks: &mut Marks,
    rows: &mut Rows,
    mut labels: Option<&mut Labels>,
) -> Result<()> {
    let (mut gap, mut label) = (false, None);
    for (column, (field, role)) in records.fields().zip(&columns.roles).enumerate() {
        let place = || format!("line {}, column {}", field.line, column + 1);
        let here = |expected: String| records.error(place(), expected);
        let text = match role {
            Role::Ignored => continue,
            Role::Trailing if field.bytes.is_empty() => continue,
            _ => std::str::from_utf8(field.bytes).map_err(|_| {
                here(match role {
                    Role::Label => "a label in UTF-8, found other bytes".into(),
                    _ => "a number, found bytes that are not UTF-8".into(),
                })
            })?,
        };
        let absent = is_missing(text);
        match role {
            Role::Ignored => {}
            Role::Trailing => {
                let expected = "an empty last field, as in the first row of numbers (a missing value at its end needs a \
                                name in the header)";
                return Err(here(format!("{expected}, found {}", short(text))));
            }
            Role::Label if absent && (text.is_empty() || !field.quoted) => {
                gap = true;
                if !rows.miss_label(place) {
                    return Err(here(format!("a label, found {} ({MISSING_HELPS})", short(text))));
                }
            }
            Role::Label => label = Some((text, field, column)),
            Role::Coordinate if absent => {
                gap = true;
                if !rows.push_missing(place) {
                    return Err(here(format!("a number, found {} ({MISSING_HELPS})", short(text))));
                }
            }
            Role::Coordinate => {
                let value = marks.number(text, records, &field, column, options)?;
                if let Some(expected) = fault(value, options.range) {
                    return Err(here(expected));
                }
                rows.push(value);
            }
        }
    }
    if gap && options.missing == crate::data::Missing::DropRow {
        rows.drop_row();
    } else if let (Some(labels), Some((text, field, column))) = (labels.as_mut(), label) {
        let place = || format!("line {}, column {}", field.line, column + 1);
        labels.push(text, place).map_err(|expected| records.error(place(), expected))?;
    }
    Ok(())
}

/// Whether numbers are written with a decimal point or comma, once one of them has told.
struct Marks {
    /// The first number that told where no option did.
    told: Option<String>,
    comma: Option<bool>,
}

impl Marks {
    fn new(options: &CsvOptions, records: &Records) -> Self {
        // without semicolons, 1,234 would as well be a thousand
        let fixed = (records.separator != Separator::Semicolon).then_some(false);
        Marks { told: None, comma: options.decimal_comma.or(fixed) }
    }

    fn number(
        &mut self,
        text: &str,
        records: &Records,
        field: &Field,
        column: usize,
        options: &CsvOptions,
    ) -> Result<f64> {
        let place = || format!("line {}, column {}", field.line, column + 1);
        let found = |expected: &str| records.error(place(), format!("{expected}, found {}", short(text)));
        let (points, commas) = (text.matches('.').count(), text.matches(',').count());
        let marked = points + commas == 1;
        if marked && self.comma.is_none() {
            (self.comma, self.told) = (Some(commas == 1), Some(place()));
        }
        let comma = self.comma.unwrap_or(false);
        if marked && comma != (commas == 1) {
            return Err(self.other_mark(text, comma, found, options));
        }
        let parsed = if comma { text.replace(',', ".").parse() } else { text.parse() };
        let first_line = field.line == 1 && !options.has_header;
        let helps = if first_line { " (where the first line names the columns, set `has_header`)" } else { "" };
        parsed.map_err(|_| found(&format!("a number{helps}")))
    }

    /// A number with a point among numbers with commas, or the other way round.
    fn other_mark(&self, text: &str, comma: bool, found: impl Fn(&str) -> Error, options: &CsvOptions) -> Error {
        let swapped = text.replace(',', ".");
        if swapped.parse::<f64>().is_err() {
            return found("a number");
        }
        match (&self.told, options.decimal_comma, comma) {
            (Some(place), _, true) => found(&format!("a number with a decimal comma, as at {place}")),
            (Some(place), _, false) => found(&format!("a number with a decimal point, as at {place}")),
            (None, _, true) => found("a number with a decimal comma, as option `decimal_comma` says"),
            (None, Some(false), false) => found("a number without decimal comma, as option `decimal_comma` says"),
            (None, _, false) => found("a number (option `decimal_comma` reads decimal commas)"),
        }
    }

    fn note(&self, records: &Records) -> Option<String> {
        let sensed = records.sensed && records.separator != Separator::Comma;
        let comma = self.told.is_some() && self.comma == Some(true);
        let commas = if comma { ", with decimal commas" } else { "" };
        sensed.then(|| format!("read as columns separated by {}{commas}", records.separator.words()))
    }
}
