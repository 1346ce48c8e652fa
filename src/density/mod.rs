//! Energies, models and paths: what is known of a distribution e^{−U}/Z.

mod annealed;
mod axes;
mod data_mixture;
mod energy;
mod evaluation;
mod files;
mod fisher;
mod flips;
mod layers;
mod layers_path;
mod maps;
mod model;
mod momenta;
mod noise;
mod path;
mod rows;
mod whitening;

pub use annealed::Annealed;
pub use axes::{Axes, NoisePath};
pub use data_mixture::DataMixture;
pub(crate) use data_mixture::{Known, NoisyMixture};
pub use energy::{Base, Differentiable, Energy};
pub(crate) use energy::{CURVATURE_PASSES, curvature};
pub use evaluation::Evaluation;
pub(crate) use files::{
    described, put_parameters, read_model, restore_parameters, save_parameters, take_parameters, write_model,
};
pub use fisher::Fisher;
pub(crate) use fisher::{Block, Moments};
pub use flips::Weigh;
pub(crate) use flips::{add, flips_by_energy};
pub use layers::{Bipartite, BipartitePath, Layer, Layers};
pub(crate) use layers::{bits, digits};
pub use layers_path::{Independent, LayersPath};
pub use maps::Maps;
pub use model::{Along, Model, Normalised, log_prob};
pub(crate) use momenta::halves;
pub use momenta::{Momenta, WithMomenta};
pub use noise::Noise;
pub(crate) use noise::between_knots;
pub use path::{At, Flow, Geometric, Path};
pub(crate) use path::{Grid, vector_products};
pub(crate) use rows::{check_rows, distance_from, first_row, floats, kind_for, rows_as, rows_for};
pub use whitening::{Whiten, Whitening};
