//! Energies, models and paths: what is known of a distribution e^{−U}/Z.

mod annealed;
mod energy;
mod evaluation;
mod layers;
mod layers_path;
mod model;
mod noise;
mod path;

pub use annealed::Annealed;
pub use energy::{Base, Differentiable, Energy};
pub(crate) use energy::{CURVATURE_PASSES, check_rows, curvature, first_row};
pub use evaluation::Evaluation;
pub use layers::{Bipartite, BipartitePath, Layer, Layers};
pub(crate) use layers::{bits, digits};
pub use layers_path::{Independent, LayersPath};
pub use model::{Model, log_prob};
pub(crate) use model::{restore_parameters, save_parameters, save_vars};
pub use noise::Noise;
pub use path::{At, Flow, Geometric, Path};
pub(crate) use path::{Grid, vector_products};
