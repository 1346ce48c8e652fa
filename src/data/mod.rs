//! Hold real data as one tensor with its labels, and read it from CSV, Parquet, IDX and CIFAR files.

mod binarise;
mod cifar;
mod csv;
mod dataset;
mod digits;
mod idx;
mod labels;
mod missing;
mod mnist;
mod parquet;
mod places;
mod source;
mod split;
mod synthetic;

pub use binarise::Binarisation;
pub use cifar::{cifar10, read_cifar10};
pub use csv::{Column, CsvOptions, RowNames, Separator, read_csv};
pub use dataset::Dataset;
pub use digits::digits;
pub use idx::{read_idx, read_idx_pair};
pub use missing::Missing;
pub use mnist::{Split, fashion_mnist, mnist};
pub use parquet::{ParquetOptions, read_parquet};
pub use split::Share;
pub use synthetic::{Synthetic, bars_and_stripes};

use crate::error::{Error, Result};

fn check_range(name: &'static str, (lo, hi): (f64, f64)) -> Result<()> {
    if lo.is_finite() && hi.is_finite() && lo < hi {
        return Ok(());
    }
    Err(Error::param(name, format!("[{lo}, {hi}]"), "finite ends, the first below the second"))
}

/// What a value of a file fails to be, or `None` if it is finite and in range.
fn fault(value: f64, range: Option<(f64, f64)>) -> Option<String> {
    match range {
        _ if !value.is_finite() => Some(format!("a finite number, found {value}")),
        Some((lo, hi)) if value < lo || value > hi => Some(format!("a number in [{lo}, {hi}], found {value}")),
        _ => None,
    }
}

/// The start of a field, quoted: a broken file's field may be megabytes long.
fn short(field: &str) -> String {
    match field.char_indices().nth(24) {
        None => format!("{field:?}"),
        Some((end, _)) => format!("{:?}…", &field[..end]),
    }
}
