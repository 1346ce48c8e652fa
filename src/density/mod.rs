//! Energies, models and paths: what is known of a distribution e^{−U}/Z.

mod energy;
mod evaluation;
mod model;
mod noise;
mod path;

pub use energy::{Base, Energy};
pub(crate) use energy::{CURVATURE_PASSES, check_rows, curvature, first_row};
pub use evaluation::Evaluation;
pub use model::{Model, log_prob};
pub(crate) use model::{restore_parameters, save_parameters, save_vars};
pub use noise::Noise;
pub use path::{At, Flow, Geometric, Path};
pub(crate) use path::{Grid, vector_products};
