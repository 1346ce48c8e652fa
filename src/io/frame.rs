//! Build and read DataFrames without macros: rows in, columns out, means and standard errors over seeds.
//!
//! In a notebook, look columns up by [`column()`], [`column_f64`] or [`Run::column`](crate::Run::column) rather than by
//! `DataFrame::column`. polars caches a hash table of the names in the frame, evcxr gives every cell its own copy of the
//! hash function's seed, and so a frame that polars has searched in one cell denies its columns in the next.
//! [`unhashed`] mends such a frame.

use crate::error::{Error, Result};
use polars::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// One value of a row; a column holds one kind (integers give way to floats).
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text.
    Str(String),
    /// A number; NaN where there is none.
    Float(f64),
    /// A whole number, or a truth value as 0 or 1.
    Int(i64),
}

macro_rules! cell_from {
    ($($t:ty => |$v:ident| $e:expr),* $(,)?) => { $(impl From<$t> for Cell { fn from($v: $t) -> Cell { $e } })* };
}
cell_from!(
    &str => |v| Cell::Str(v.to_string()), String => |v| Cell::Str(v), &String => |v| Cell::Str(v.clone()),
    f64 => |v| Cell::Float(v), f32 => |v| Cell::Float(v as f64), Option<f64> => |v| Cell::Float(v.unwrap_or(f64::NAN)),
    i64 => |v| Cell::Int(v), i32 => |v| Cell::Int(v as i64), u32 => |v| Cell::Int(v as i64),
    usize => |v| Cell::Int(v as i64), u64 => |v| Cell::Int(v as i64), bool => |v| Cell::Int(v as i64),
);

/// What [`Rows::push`] takes: a tuple of up to 16 strings and numbers, a `Vec<Cell>` or an array of them.
pub trait Row {
    /// The cells of the row, in the order of the columns.
    fn cells(self) -> Vec<Cell>;
}

impl Row for Vec<Cell> {
    fn cells(self) -> Vec<Cell> {
        self
    }
}

impl<C: Into<Cell>, const N: usize> Row for [C; N] {
    fn cells(self) -> Vec<Cell> {
        self.into_iter().map(Into::into).collect()
    }
}

macro_rules! row_tuples {
    ($first:ident) => { row_tuples!(@one $first); };
    ($first:ident $($rest:ident)+) => { row_tuples!(@one $first $($rest)+); row_tuples!($($rest)+); };
    (@one $($t:ident)+) => {
        impl<$($t: Into<Cell>),+> Row for ($($t,)+) {
            #[allow(non_snake_case)]
            fn cells(self) -> Vec<Cell> { let ($($t,)+) = self; vec![$($t.into()),+] }
        }
    };
}
row_tuples!(A B C D E F G H I J K L M N O P);

/// A table under construction, one row at a time.
///
/// ```
/// # use jarzynski::io::frame::Rows;
/// let mut rows = Rows::new(&["method", "seed", "value"]);
/// rows.push(("pcd", 0, 1.5)).push(("cd", 0, 2.5));
/// let df = rows.finish()?;
/// assert_eq!(df.shape(), (2, 3));
/// # Ok::<(), jarzynski::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Rows {
    names: Vec<String>,
    cells: Vec<Vec<Cell>>,
    wrong: Option<(usize, usize)>,
}

impl Rows {
    /// An empty table with these columns; their types follow from the first rows.
    pub fn new(names: &[&str]) -> Self {
        Rows { names: names.iter().map(|s| s.to_string()).collect(), cells: vec![vec![]; names.len()], wrong: None }
    }

    /// Appends a row. A row of the wrong width is not stored and is reported by [`Rows::finish`].
    pub fn push(&mut self, row: impl Row) -> &mut Self {
        let row = row.cells();
        if row.len() != self.names.len() {
            self.wrong.get_or_insert((self.len(), row.len()));
            return self;
        }
        self.cells.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
        self
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.cells.first().map_or(0, Vec::len)
    }

    /// Whether no row was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The DataFrame: strings as `str`, integers as `i64`, everything else (and columns without rows) as `f64`.
    ///
    /// # Errors
    /// A row of the wrong width, a column that mixes strings and numbers, a column name used twice.
    pub fn finish(&self) -> Result<DataFrame> {
        if let Some((row, width)) = self.wrong {
            let expected = format!("{} cells ({})", self.names.len(), self.names.join(", "));
            return Err(Error::param("row", format!("{width} cells after row {row}"), expected));
        }
        let columns: Result<Vec<Column>> = self.names.iter().zip(&self.cells).map(|(n, c)| typed(n, c)).collect();
        Ok(DataFrame::new(self.len(), columns?)?)
    }
}

fn typed(name: &str, cells: &[Cell]) -> Result<Column> {
    let strings = cells.iter().filter(|c| matches!(c, Cell::Str(_))).count();
    if strings > 0 && strings == cells.len() {
        let v: Vec<&str> = cells.iter().map(|c| if let Cell::Str(s) = c { s.as_str() } else { "" }).collect();
        return Ok(Column::new(name.into(), v));
    }
    if strings > 0 {
        let mix = format!("{strings} strings and {} numbers", cells.len() - strings);
        return Err(Error::param("column", format!("{name} with {mix}"), "one type per column"));
    }
    if !cells.is_empty() && cells.iter().all(|c| matches!(c, Cell::Int(_))) {
        let v: Vec<i64> = cells.iter().map(|c| if let Cell::Int(i) = c { *i } else { 0 }).collect();
        return Ok(Column::new(name.into(), v));
    }
    let number = |c: &Cell| match c {
        Cell::Float(x) => *x,
        Cell::Int(i) => *i as f64,
        Cell::Str(_) => f64::NAN,
    };
    Ok(Column::new(name.into(), cells.iter().map(number).collect::<Vec<f64>>()))
}

/// A column by name.
///
/// # Errors
/// `Param` that lists the columns there are.
pub fn column<'a>(df: &'a DataFrame, name: &str) -> Result<&'a Column> {
    // One by one, not by polars' hash table: see the head of this file.
    df.columns().iter().find(|c| c.name() == name).ok_or_else(|| {
        let have: Vec<&str> = df.columns().iter().map(|c| c.name().as_str()).collect();
        Error::param("column", name, format!("one of {}", have.join(", ")))
    })
}

/// A frame from a Parquet file.
///
/// # Errors
/// `Io` where there is none, `Data` where it is no Parquet.
pub fn read(path: impl AsRef<std::path::Path>) -> Result<DataFrame> {
    crate::io::read_frame(path.as_ref())
}

/// The same columns in a frame that polars has not searched yet; shares the data.
///
/// # Errors
/// None for a frame that polars accepted once.
pub fn unhashed(df: &DataFrame) -> Result<DataFrame> {
    Ok(DataFrame::new(df.height(), df.columns().to_vec())?)
}

/// A numeric or boolean column as `f64`; nulls are NaN.
///
/// # Errors
/// `Param` for a column that is missing or holds text.
pub fn column_f64(df: &DataFrame, name: &str) -> Result<Vec<f64>> {
    let c = column(df, name)?;
    if !(c.dtype().is_primitive_numeric() || c.dtype().is_bool() || c.dtype().is_null()) {
        return Err(Error::param("column", format!("{name} of type {}", c.dtype()), "numbers"));
    }
    let c = c.cast(&DataType::Float64)?;
    Ok(c.f64()?.iter().map(|v| v.unwrap_or(f64::NAN)).collect())
}

/// Any column as text; nulls are empty.
///
/// # Errors
/// `Param` for a missing column.
pub fn column_str(df: &DataFrame, name: &str) -> Result<Vec<String>> {
    let c = column(df, name)?.cast(&DataType::String)?;
    Ok(c.str()?.iter().map(|v| v.unwrap_or("").to_string()).collect())
}

/// The rows whose column `name`, read as text, equals `value`; perhaps none.
///
/// # Errors
/// `Param` for a missing column.
pub fn filter(df: &DataFrame, name: &str, value: &str) -> Result<DataFrame> {
    let mask: BooleanChunked = column_str(df, name)?.iter().map(|v| Some(v == value)).collect();
    unhashed(&unhashed(df)?.filter(&mask)?)
}

/// The different values of a column as text, in order of first appearance.
///
/// # Errors
/// `Param` for a missing column.
pub fn distinct(df: &DataFrame, name: &str) -> Result<Vec<String>> {
    let mut seen = std::collections::HashSet::new();
    Ok(column_str(df, name)?.into_iter().filter(|v| seen.insert(v.clone())).collect())
}

/// Frames with the same columns, one below the other.
///
/// # Errors
/// No frame at all, or columns that differ.
pub fn concat(frames: &[DataFrame]) -> Result<DataFrame> {
    let (first, rest) = frames.split_first().ok_or_else(|| Error::param("frames", 0, "at least one"))?;
    let mut all = unhashed(first)?;
    for frame in rest {
        all.vstack_mut(frame)?;
    }
    unhashed(&all)
}

/// Frames one below the other; a column that one of them lacks is null in its rows, and numbers of two kinds are floats.
///
/// # Errors
/// Text and numbers under the same name.
pub fn union(frames: &[DataFrame]) -> Result<DataFrame> {
    let mut kinds: Vec<(PlSmallStr, DataType)> = vec![];
    for c in frames.iter().flat_map(|f| f.columns()) {
        match kinds.iter_mut().find(|(name, _)| name == c.name()) {
            None => kinds.push((c.name().clone(), c.dtype().clone())),
            Some((_, kind)) if kind.is_null() => *kind = c.dtype().clone(),
            Some((_, kind)) if kind != c.dtype() && kind.is_primitive_numeric() && c.dtype().is_primitive_numeric() => {
                *kind = DataType::Float64;
            }
            _ => {}
        }
    }
    let mut parts = vec![];
    for frame in frames.iter().filter(|f| f.height() > 0) {
        let columns = kinds.iter().map(|(name, kind)| match column(frame, name) {
            Ok(c) => Ok(c.cast(kind)?),
            Err(_) => Ok(Column::full_null(name.clone(), frame.height(), kind)),
        });
        parts.push(DataFrame::new(frame.height(), columns.collect::<Result<Vec<_>>>()?)?);
    }
    if parts.is_empty() { Ok(DataFrame::empty()) } else { concat(&parts) }
}

/// The frame with one more column of the same text in every row, in front: what tells runs apart after [`concat()`].
///
/// # Errors
/// A column of that name is there already.
pub fn label(df: &DataFrame, name: &str, value: &str) -> Result<DataFrame> {
    let mut columns = vec![Column::new(name.into(), vec![value; df.height()])];
    columns.extend(df.columns().iter().cloned());
    Ok(DataFrame::new(df.height(), columns)?)
}

/// Mean and standard error over replicates: one row per combination of the columns `by`, and for every column `c`
/// of `columns` the mean `c`, its standard error `c_se` and the number `c_n` of replicates it is taken over.
///
/// Rows of the same replicate (`over`, usually `seed`) are averaged first. NaN and null are left out, and `c_n` tells;
/// one replicate has no standard error: `c_se` is NaN. Text sorts by first appearance, numbers by value.
///
/// # Errors
/// `Param` for a missing or textual column.
pub fn bands(df: &DataFrame, by: &[&str], over: &str, columns: &[&str]) -> Result<DataFrame> {
    let keys: Vec<Key> = by.iter().map(|name| Key::read(df, name)).collect::<Result<_>>()?;
    let replicate = column_str(df, over)?;
    let values: Vec<Vec<f64>> = columns.iter().map(|name| column_f64(df, name)).collect::<Result<_>>()?;
    type Sums = Vec<(f64, f64)>; // per column: sum and count
    let mut groups: BTreeMap<Vec<usize>, BTreeMap<&str, Sums>> = BTreeMap::new();
    for (row, seed) in replicate.iter().enumerate() {
        let group = groups.entry(keys.iter().map(|k| k.rank[row]).collect()).or_default();
        let sums = group.entry(seed).or_insert_with(|| vec![(0.0, 0.0); columns.len()]);
        for (sum, column) in sums.iter_mut().zip(&values) {
            if !column[row].is_nan() {
                *sum = (sum.0 + column[row], sum.1 + 1.0);
            }
        }
    }
    let mut out: Vec<Column> =
        keys.iter().enumerate().map(|(i, k)| k.column(by[i], groups.keys().map(|g| g[i]))).collect();
    for (i, name) in columns.iter().enumerate() {
        let (mut mean, mut se, mut n) = (vec![], vec![], vec![]);
        for replicates in groups.values() {
            let v: Vec<f64> = replicates.values().map(|s| s[i].0 / s[i].1).filter(|m| !m.is_nan()).collect();
            let (m, s) = mean_se(&v);
            mean.push(m);
            se.push(s);
            n.push(v.len() as i64);
        }
        out.push(Column::new((*name).into(), mean));
        out.push(Column::new(format!("{name}_se").into(), se));
        out.push(Column::new(format!("{name}_n").into(), n));
    }
    Ok(DataFrame::new(groups.len(), out)?)
}

/// Sample mean and its standard error, `sqrt(Σ(x−m)²/(n(n−1)))`; NaN where too few values are given (none, one).
pub fn mean_se(v: &[f64]) -> (f64, f64) {
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    let square: f64 = v.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, if v.len() < 2 { f64::NAN } else { (square / (n * (n - 1.0))).sqrt() })
}

/// A key column of [`bands`]: what stands where in the order of the result.
struct Key {
    rank: Vec<usize>,
    first_row: Vec<usize>,
    source: Column,
}

impl Key {
    fn read(df: &DataFrame, name: &str) -> Result<Key> {
        let source = column(df, name)?.clone();
        let text = column_str(df, name)?;
        let mut index: HashMap<&str, usize> = HashMap::new();
        let mut first_row: Vec<usize> = vec![];
        for (row, value) in text.iter().enumerate() {
            index.entry(value).or_insert_with(|| {
                first_row.push(row);
                first_row.len() - 1
            });
        }
        if source.dtype().is_primitive_numeric() {
            let v = column_f64(df, name)?;
            first_row.sort_by(|&a, &b| v[a].total_cmp(&v[b]));
            index = first_row.iter().enumerate().map(|(rank, &row)| (text[row].as_str(), rank)).collect();
        }
        let rank = text.iter().map(|value| index[value.as_str()]).collect();
        Ok(Key { rank, first_row, source })
    }

    fn column(&self, name: &str, ranks: impl Iterator<Item = usize>) -> Column {
        let rows: IdxCa = ranks.map(|r| Some(self.first_row[r] as IdxSize)).collect();
        let taken = self.source.take(&rows);
        taken.map(|c| c.with_name(name.into())).unwrap_or_else(|_| Column::new_empty(name.into(), self.source.dtype()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_beside_a_foreign_hash_table() {
        let mut df = Rows::new(&["method", "ess"]).push(("pcd", 0.5)).push(("cd", 0.25)).finish().unwrap();
        // Stands for the table of another notebook cell, in which no name of this frame is found.
        let foreign = Rows::new(&["a", "b"]).push(("", 0.0)).finish().unwrap().schema().clone();
        // SAFETY: polars reads a wrong schema as wrong answers to look-ups, which is what is tested.
        unsafe { df.set_schema(foreign) };
        assert!(df.column("ess").is_err(), "polars searches the table: if not, this module need not care");
        assert_eq!(column_f64(&df, "ess").unwrap(), [0.5, 0.25]);
        assert_eq!(column_f64(&filter(&df, "method", "cd").unwrap(), "ess").unwrap(), [0.25]);
        for mended in [unhashed(&df), filter(&df, "method", "cd"), concat(&[df.clone(), df.clone()])] {
            assert!(mended.unwrap().column("ess").is_ok());
        }
    }
}
