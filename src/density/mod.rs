//! Energies, models and paths: what is known of a distribution e^{−U}/Z.

mod energy;
mod evaluation;
mod files;
mod model;
mod noise;
mod path;
mod rows;

pub use energy::{Base, Energy};
pub(crate) use energy::{CURVATURE_PASSES, curvature};
pub use evaluation::Evaluation;
pub(crate) use files::{described, read_model, restore_parameters, save_parameters, take_parameters, write_model};
pub use model::Model;
pub use noise::Noise;
pub use path::{At, Flow, Geometric, Path};
pub(crate) use path::{Grid, vector_products};
pub(crate) use rows::{check_rows, distance_from, first_row, floats, kind_for, rows_as, rows_for};
