//! Give the 1,797 handwritten digits that the library carries with it.

use tch::Kind;

use super::Dataset;
use super::csv::{CsvOptions, parse};
use super::source::Source;
use crate::error::Result;

const FILE: &[u8] = include_bytes!("../../datasets/digits.csv.gz");

/// The 1,797 real 8 × 8 digits of the UCI test set: `x` is `[1797, 64]`, `Float`, whole numbers in `(0, 16)`, rows of
/// pixels from the top left, with labels 0 to 9. Origin and licence are in `datasets/README.md`.
///
/// ```
/// # fn main() -> jarzynski::Result<()> {
/// let digits = jarzynski::data::digits()?;
/// assert_eq!(digits.x.size(), [1797, 64]);
/// assert_eq!(digits.shape, [8, 8]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `Data` where the data that the crate carries were damaged.
pub fn digits() -> Result<Dataset> {
    let options = CsvOptions::default().label(64).range(0.0, 16.0);
    let table = parse(Source::embedded("datasets/digits.csv.gz", FILE)?, &options)?;
    Ok(Dataset { name: "digits".into(), ..table.with_shape(&[8, 8])?.with_kind(Kind::Float)? })
}
