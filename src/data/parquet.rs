//! Read numbers, vectors and labels from a Parquet file, and say the column and row of what is neither.

use std::path::Path;

use polars::prelude::{ArrowDataType, ArrowSchema, Column, DataFrame, DataType, Series};

use super::labels::Labels;
use super::missing::{MISSING_HELPS, Missing, Rows};
use super::{Dataset, check_range, fault};
use crate::error::{Error, Result};
use crate::io::ParquetFile;

/// How to read a Parquet file. The default: no labels, any finite number, nothing missing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
#[must_use]
pub struct ParquetOptions {
    /// The column that holds a label instead of a coordinate: integers, or text (then [`Dataset::classes`] has the names).
    pub label_column: Option<String>,
    /// The interval in which every value must lie; becomes [`Dataset::range`].
    pub range: Option<(f64, f64)>,
    /// What to do with nulls and NaN.
    pub missing: Missing,
    /// Columns that are neither coordinates nor labels; they may be of any type.
    pub ignore: Vec<String>,
    /// Whether the index of a pandas table is read as a coordinate.
    pub keep_index: bool,
}

impl ParquetOptions {
    /// The column of the labels.
    pub fn label(self, column: impl Into<String>) -> Self {
        ParquetOptions { label_column: Some(column.into()), ..self }
    }

    /// The interval in which every value must lie.
    pub fn range(self, lo: f64, hi: f64) -> Self {
        ParquetOptions { range: Some((lo, hi)), ..self }
    }

    /// What to do with nulls and NaN.
    pub fn missing(self, missing: Missing) -> Self {
        ParquetOptions { missing, ..self }
    }

    /// One more column that is neither coordinate nor label.
    pub fn ignore(mut self, column: impl Into<String>) -> Self {
        self.ignore.push(column.into());
        self
    }

    /// The index of a pandas table is a coordinate.
    pub fn keep_index(self) -> Self {
        ParquetOptions { keep_index: true, ..self }
    }
}

/// Reads a Parquet file: one example a row, `Double`, shape `[d]`. A `~` at the start of the path is the home folder.
///
/// A column of numbers or truth values is one coordinate. A column of lists that are all of one length (embeddings,
/// images; lists of lists too) is as many coordinates, row by row; where it is the only column, its sides are the
/// [`Dataset::shape`]. The index that pandas writes as `__index_level_0__`, or as a named column, is left out and
/// [`Dataset::notes`] says so.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] with the column and the row (from 1) if a value is missing,
/// not finite or out of range, or a list of another length; with the column if its type is none of the above, or the labels
/// are not there or neither integers nor text; with a byte offset if the file is empty, truncated or not Parquet;
/// [`Error::Param`] if `range` is not an interval.
pub fn read_parquet(path: impl AsRef<Path>, options: &ParquetOptions) -> Result<Dataset> {
    if let Some(range) = options.range {
        check_range("range", range)?;
    }
    let file = ParquetFile::open(path.as_ref())?;
    let path = file.path().to_path_buf();
    let [seen, plain] = file.schemas()?;
    let mut notes = Vec::new();
    let index = if options.keep_index { Vec::new() } else { index_columns(&file) };
    let label = options.label_column.as_deref();
    let names: Vec<&str> = plain.iter_names().map(|name| name.as_str()).collect();
    for (name, purpose) in
        options.ignore.iter().map(|n| (n.as_str(), "to leave out")).chain(label.map(|n| (n, "for the labels")))
    {
        if !names.contains(&name) {
            return Err(Error::data(&path, quoted(name), format!("this column {purpose}, found {names:?}")));
        }
    }
    let mut places = Vec::new();
    for (place, name) in names.iter().enumerate() {
        if options.ignore.iter().any(|n| n == name) {
            if label == Some(*name) {
                return Err(Error::data(&path, quoted(name), "a column for the labels that is not ignored"));
            }
        } else if label != Some(*name) && index.iter().any(|n| n == name) {
            notes.push(format!("left out {}, the index of a pandas table", quoted(name)));
        } else {
            check_type(&path, name, [&seen, &plain], label == Some(*name))?;
            places.push(place);
        }
    }
    if places.len() == usize::from(label.is_some()) {
        let besides = if label.is_some() { " besides that of the labels" } else { " with numbers" };
        return Err(Error::data(&path, "row 1", format!("a column{besides}")));
    }
    // with no row, the columns may have no chunk to look at
    let frame = file.columns(places)?;
    if frame.height() == 0 {
        return Err(Error::data(&path, "row 1", "a row of numbers, the table is empty"));
    }
    rows(&path, &frame, options, notes)
}

fn quoted(name: &str) -> String {
    format!("column \"{name}\"")
}

/// The columns that pandas says are its index, and those that it names so.
fn index_columns(file: &ParquetFile) -> Vec<String> {
    let told = file.note("pandas").and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let told = told.as_ref().and_then(|v| v["index_columns"].as_array());
    let mut names: Vec<String> = told.into_iter().flatten().filter_map(|v| v.as_str().map(String::from)).collect();
    names.extend((0..8).map(|level| format!("__index_level_{level}__")));
    names
}

/// What the values of a column are, beneath the lists.
#[derive(PartialEq)]
enum Leaf {
    Number,
    Text,
    Other,
}

fn leaf(data_type: &ArrowDataType, lists: usize) -> (Leaf, usize) {
    use ArrowDataType as D;
    match data_type {
        D::Boolean | D::Float32 | D::Float64 => (Leaf::Number, lists),
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => {
            (Leaf::Number, lists)
        }
        D::Utf8 | D::LargeUtf8 | D::Utf8View => (Leaf::Text, lists),
        D::Dictionary(_, values, _) => leaf(values, lists),
        D::Extension(extension) => leaf(&extension.inner, lists),
        D::List(field) | D::LargeList(field) | D::FixedSizeList(field, _) => leaf(field.dtype(), lists + 1),
        _ => (Leaf::Other, lists),
    }
}

/// Refuses a column by its type, before polars reads it: some types make it panic.
fn check_type(path: &Path, name: &str, [seen, plain]: [&ArrowSchema; 2], is_label: bool) -> Result<()> {
    let Some(plain) = plain.get(name) else {
        return Err(Error::data(path, quoted(name), "a column that the schema describes"));
    };
    let seen = seen.get(name).unwrap_or(plain);
    let ((of, lists), (beneath, _)) = (leaf(seen.dtype(), 0), leaf(plain.dtype(), 0));
    let of = if of == beneath { of } else { Leaf::Other };
    let fits = match of {
        Leaf::Number => !is_label || (lists == 0 && is_integer(seen.dtype())),
        Leaf::Text => is_label && lists == 0,
        Leaf::Other => false,
    };
    if fits {
        return Ok(());
    }
    let found = words(seen.dtype());
    let expected = if is_label { "integer or text labels" } else { "numbers or lists of numbers" };
    let helps = match seen.dtype() {
        _ if is_label => "",
        ArrowDataType::Float16 | ArrowDataType::Decimal(..) | ArrowDataType::Decimal256(..) => {
            " (write it as float32 or float64, or leave it out by option `ignore`)"
        }
        _ if of == Leaf::Text && lists == 0 => {
            " (make it the labels by option `label_column`, or leave it out by `ignore`)"
        }
        _ => " (leave it out by option `ignore`)",
    };
    Err(Error::data(path, quoted(name), format!("{expected}, found {found}{helps}")))
}

fn is_integer(data_type: &ArrowDataType) -> bool {
    use ArrowDataType as D;
    match data_type {
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => true,
        D::Dictionary(_, values, _) => is_integer(values),
        _ => false,
    }
}

/// A type in the words of pandas and Arrow.
fn words(data_type: &ArrowDataType) -> String {
    use ArrowDataType as D;
    match data_type {
        D::Utf8 | D::LargeUtf8 | D::Utf8View => "text".into(),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => "bytes".into(),
        D::Date32 | D::Date64 => "dates".into(),
        D::Timestamp(..) => "times".into(),
        D::Decimal(precision, scale) | D::Decimal256(precision, scale) => format!("decimal({precision}, {scale})"),
        D::Dictionary(_, values, _) => format!("categories of {}", words(values)),
        D::List(field) | D::LargeList(field) | D::FixedSizeList(field, _) => {
            format!("lists of {}", words(field.dtype()))
        }
        D::Struct(fields) => {
            let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
            format!("structs of {}", names.join(", "))
        }
        D::Extension(extension) => words(&extension.inner),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// One column's numbers, so many per row, in the order of the rows.
struct Block {
    name: String,
    numbers: Vec<Option<f64>>,
    sides: Vec<i64>,
}

fn rows(path: &Path, frame: &DataFrame, options: &ParquetOptions, notes: Vec<String>) -> Result<Dataset> {
    let label = options.label_column.as_deref();
    let (of_labels, coordinates): (Vec<&Column>, Vec<&Column>) =
        frame.columns().iter().partition(|c| Some(c.name().as_str()) == label);
    let blocks = coordinates.into_iter().map(|c| block(path, c)).collect::<Result<Vec<Block>>>()?;
    let widths: Vec<usize> = blocks.iter().map(|b| b.sides.iter().product::<i64>() as usize).collect();
    let mut rows = Rows::new(widths.iter().sum(), options.missing);
    let mut labels = of_labels.first().map(|c| (label_texts(c), Labels::default()));
    for i in 0..frame.height() {
        let mut gap = false;
        for (block, &width) in blocks.iter().zip(&widths) {
            let place = || format!("{}, row {}", quoted(&block.name), i + 1);
            for &value in &block.numbers[i * width..(i + 1) * width] {
                match value.filter(|v| !v.is_nan() || options.missing == Missing::Refuse) {
                    Some(value) => {
                        if let Some(expected) = fault(value, options.range) {
                            return Err(Error::data(path, place(), expected));
                        }
                        rows.push(value);
                    }
                    None => {
                        gap = true;
                        if !rows.push_missing(place) {
                            return Err(Error::data(path, place(), format!("a number, found null ({MISSING_HELPS})")));
                        }
                    }
                }
            }
        }
        let mut text = None;
        if let (Some((texts, _)), Some(column)) = (&labels, of_labels.first()) {
            let place = || format!("{}, row {}", quoted(column.name()), i + 1);
            text = texts.as_ref().map_err(|e| Error::data(path, quoted(column.name()), e))?[i].clone();
            if text.is_none() {
                gap = true;
                if !rows.miss_label(place) {
                    return Err(Error::data(path, place(), format!("a label, found null ({MISSING_HELPS})")));
                }
            }
        }
        if gap && options.missing == Missing::DropRow {
            rows.drop_row();
        } else if let (Some((_, labels)), Some(text)) = (&mut labels, text) {
            let place = || format!("{}, row {}", quoted(label.unwrap_or_default()), i + 1);
            labels.push(&text, place).map_err(|expected| Error::data(path, place(), expected))?;
        }
    }
    let nothing = |expected| Error::data(path, "the table", expected);
    let labels = labels.map(|(_, labels)| labels);
    let data = rows.finish(path.display().to_string(), labels, options.range, notes, nothing)?;
    match blocks.as_slice() {
        [only] => data.with_shape(&only.sides),
        _ => Ok(data),
    }
}

/// The labels of a column of integers or text; the error is what was expected.
fn label_texts(column: &Column) -> std::result::Result<Vec<Option<String>>, String> {
    let series = column.as_materialized_series();
    let failed = |e: polars::error::PolarsError| format!("integer or text labels ({e})");
    if series.dtype() == &DataType::String {
        return Ok(series.str().map_err(failed)?.iter().map(|text| text.map(String::from)).collect());
    }
    // an integer above 2^63 becomes null
    let integers = series.cast(&DataType::Int64).map_err(failed)?;
    if integers.null_count() > series.null_count() {
        return Err("integer labels of 64 bits with sign".into());
    }
    Ok(integers.i64().map_err(failed)?.iter().map(|v| v.map(|v| v.to_string())).collect())
}

/// The numbers of a column; of lists, the elements of equally long ones.
fn block(path: &Path, column: &Column) -> Result<Block> {
    let name = column.name().to_string();
    let (mut series, mut sides) = (column.as_materialized_series().clone(), Vec::new());
    let n = series.len();
    while let DataType::List(_) = series.dtype() {
        let within = sides.iter().product::<i64>().max(1) as usize;
        let length = list_length(path, &name, &series, within)?;
        sides.push(length as i64);
        series = series.explode(polars::prelude::ExplodeOptions { empty_as_null: false, keep_nulls: false })?;
    }
    if sides.is_empty() {
        sides.push(1);
    }
    let numbers: Vec<Option<f64>> = series.cast(&DataType::Float64)?.f64()?.iter().collect();
    let expected = n * sides.iter().product::<i64>() as usize;
    if numbers.len() != expected {
        return Err(Error::data(path, quoted(&name), format!("{expected} numbers in all, found {}", numbers.len())));
    }
    Ok(Block { name, numbers, sides })
}

/// The one length of all lists of a column, of which `within` make a row.
fn list_length(path: &Path, name: &str, series: &Series, within: usize) -> Result<usize> {
    let chunks = series.list()?.downcast_iter();
    let lengths = chunks.flat_map(|lists| {
        let there = lists.validity().map(|bits| bits.iter());
        let there = there.into_iter().flatten().map(Some).chain(std::iter::repeat(None));
        lists.offsets().lengths().zip(there).map(|(length, bit)| bit.unwrap_or(true).then_some(length))
    });
    let mut first = None;
    for (i, length) in lengths.enumerate() {
        let wrong =
            |expected: String| Err(Error::data(path, format!("{}, row {}", quoted(name), i / within + 1), expected));
        match (length, first) {
            (None, _) => return wrong("a list, found null".into()),
            (Some(0), _) => return wrong("a list of at least one number, found an empty one".into()),
            (Some(found), Some(first)) if found != first => {
                return wrong(format!("a list of {first}, as in row 1, found one of {found}"));
            }
            (Some(found), _) => first = Some(found),
        }
    }
    first.ok_or_else(|| Error::data(path, quoted(name), "at least one list"))
}
